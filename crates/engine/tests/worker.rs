//! The inference thread, on a tiny random model made here.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skimlm_core::{Code, Error};
use skimlm_engine::{Cancel, Event, FinishReason, LoadOptions, Outcome, Request, Run, Worker, peak_resident_bytes};
use skimlm_models::weights::gguf::write::{Tiny, write_tiny};
use tempfile::TempDir;

fn worker_with(options: LoadOptions) -> (Worker, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    write_tiny(&file, &Tiny::default()).unwrap();
    let options = LoadOptions { threads: options.threads.or(Some(1)), ..options };
    (Worker::load(file, options, |_, _| Ok(())).unwrap(), folder)
}

fn worker() -> (Worker, TempDir) {
    worker_with(LoadOptions::default())
}

fn request(value: Value) -> Request {
    Request::parse(&value).unwrap()
}

/// Generates until told otherwise: greedily, the random model runs in circles and never ends by itself.
fn endless() -> Request {
    request(json!({ "prompt": "once upon a time", "maxNewTokens": 8000 }))
}

fn short() -> Request {
    request(json!({ "prompt": "a", "maxNewTokens": 2 }))
}

fn drain(run: &Run) -> Result<(Vec<Event>, Outcome), Error> {
    let mut events = Vec::new();
    while let Some(batch) = run.next_blocking() {
        for event in batch? {
            match event {
                Event::Finish(outcome) => return Ok((events, *outcome)),
                event => events.push(event),
            }
        }
    }
    panic!("a run ended without an outcome");
}

/// Waits for the first text of a run.
fn first_text(run: &Run) {
    loop {
        let batch = run.next_blocking().unwrap().unwrap();
        if batch.iter().any(|event| matches!(event, Event::Text(_))) {
            return;
        }
    }
}

#[test]
fn a_worker_starts_answers_and_ends_fifty_times() {
    let request = request(json!({ "prompt": "once upon a time", "maxNewTokens": 3 }));
    let answers: Vec<String> = (0..50)
        .map(|_| {
            let (worker, _folder) = worker_with(LoadOptions { threads: Some(2), ..LoadOptions::default() });
            drain(&worker.start(request.clone()).unwrap()).unwrap().1.text
        })
        .collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn events_come_in_order_and_add_up() {
    let (worker, _folder) = worker();
    let text = "the quick brown fox jumps over the lazy dog. ".repeat(6);
    let run = worker
        .start(request(json!({
            "prompt": { "document": text, "question": "who jumps?" },
            "policy": { "kind": "gemfilter", "budget": 60, "layer": 2 },
            "maxNewTokens": 12,
        })))
        .unwrap();
    let (events, outcome) = drain(&run).unwrap();
    let selection = events.iter().position(|e| matches!(e, Event::Selection(_))).unwrap();
    let first_text = events.iter().position(|e| matches!(e, Event::Text(_))).unwrap_or(events.len());
    assert!(selection < first_text);
    let Event::Selection(data) = &events[selection] else { unreachable!() };
    assert_eq!(data.indices.len(), 60);
    assert_eq!((data.scores.len(), data.texts.len(), data.starts.len(), data.ends.len()), (60, 60, 60, 60));
    assert_eq!(outcome.usage.kept_tokens, 60);
    assert_eq!(outcome.memory.layer_entries.len(), 6);
    let peak = outcome.memory.peak_bytes;
    assert!(peak == peak_resident_bytes() || peak > outcome.memory.kv_bytes as u64, "{:?}", outcome.memory);
    let chunks = || events.iter().filter_map(|e| if let Event::Text(chunk) = e { Some(chunk) } else { None });
    assert_eq!(chunks().map(|chunk| chunk.text.as_str()).collect::<String>(), outcome.text);
    assert!(chunks().all(|chunk| chunk.logprob < 0.0), "no token of a random model is sure");
    assert!(run.next_blocking().is_none());
}

#[test]
fn a_run_can_be_awaited() {
    let (worker, _folder) = worker();
    assert!(worker.template().is_some(), "its file has one");
    let run = worker.start(request(json!({ "prompt": "once upon a time", "maxNewTokens": 3 }))).unwrap();
    let mut awaiting = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    loop {
        match pin!(run.next()).poll(&mut awaiting) {
            Poll::Ready(Some(batch)) => events.extend(batch.unwrap()),
            Poll::Ready(None) => break,
            Poll::Pending => std::thread::yield_now(),
        }
    }
    assert!(matches!(events.last(), Some(Event::Finish(_))));
}

#[test]
fn a_selection_alone_decodes_nothing() {
    let (worker, _folder) = worker();
    let run = worker
        .start(request(json!({
            "prompt": "a b c d e f g h i j k l m n o p q r s t",
            "policy": { "kind": "gemfilter", "budget": 20, "layer": 1 },
            "selectOnly": true, "allScores": true,
        })))
        .unwrap();
    let (events, outcome) = drain(&run).unwrap();
    let selection = events.iter().find_map(|e| if let Event::Selection(s) = e { Some(s) } else { None }).unwrap();
    assert_eq!(selection.all_scores.as_ref().unwrap().len(), outcome.usage.prompt_tokens);
    assert_eq!(outcome.usage.new_tokens, 0);
}

#[test]
fn a_prompt_of_one_token_is_answered() {
    let (worker, _folder) = worker();
    for policy in ["full", "gemfilter", "promptdistill", "snapkv", "h2o", "sinkwindow", "tova", "knorm", "keydiff"] {
        let run = worker
            .start(request(json!({ "prompt": { "tokens": [5] }, "policy": { "kind": policy }, "maxNewTokens": 3 })))
            .unwrap();
        assert!(drain(&run).unwrap().1.usage.new_tokens >= 1, "{policy}");
    }
}

#[test]
fn a_prompt_beyond_the_positions_is_refused() {
    let (worker, _folder) = worker_with(LoadOptions { context_length: Some(16), ..LoadOptions::default() });
    let run = worker.start(request(json!({ "prompt": "abcdefghijklmnopqrstuvwxyz" }))).unwrap();
    let error = drain(&run).unwrap_err();
    assert_eq!(error.code, Code::ContextOverflow);
    assert_eq!(error.details["limit"], 16);
    let cut =
        request(json!({ "prompt": "abcdefghijklmnopqrstuvwxyz", "overflow": "truncate-start", "maxNewTokens": 4 }));
    let (_, outcome) = drain(&worker.start(cut).unwrap()).unwrap();
    assert!(outcome.usage.truncated_tokens > 0 && outcome.usage.prompt_tokens <= 12, "{:?}", outcome.usage);
    assert!(outcome.warnings.iter().any(|w| w.code == "W_TRUNCATED"));
}

#[test]
fn too_many_new_tokens_are_shortened_with_a_remark() {
    let (worker, _folder) = worker_with(LoadOptions { context_length: Some(16), ..LoadOptions::default() });
    for (asked, shortened) in [(14, false), (15, true)] {
        let asked = request(json!({ "prompt": { "tokens": [5, 6, 7] }, "maxNewTokens": asked }));
        let (_, outcome) = drain(&worker.start(asked).unwrap()).unwrap();
        let remark = outcome.warnings.iter().find(|w| w.code == "W_SHORTENED");
        assert_eq!(remark.is_some(), shortened, "{remark:?}");
        assert_eq!(outcome.warnings.len(), usize::from(shortened), "nothing else: {:?}", outcome.warnings);
        assert!(remark.is_none_or(|remark| remark.message.contains("14 fit")), "{remark:?}");
        assert!(outcome.usage.new_tokens <= 14);
    }
}

#[test]
fn a_stop_string_ends_the_text_and_is_no_part_of_it() {
    let (worker, _folder) = worker();
    let ask = |stop: &str| {
        let asked = request(json!({ "prompt": "once upon a time", "maxNewTokens": 40, "stop": [stop] }));
        drain(&worker.start(asked).unwrap()).unwrap().1
    };
    let whole = ask("this will not come");
    assert_eq!((whole.finish_reason, &whole.stop_string), (FinishReason::Length, &None));
    let stop: String = whole.text.chars().skip(3).take(2).collect();
    let cut = ask(&stop);
    assert_eq!((cut.finish_reason, cut.stop_string.as_ref()), (FinishReason::StopString, Some(&stop)));
    assert_eq!(cut.text, whole.text[..whole.text.find(&stop).unwrap()]);
    // What may become a stop string is held back, and belongs to the text if it does not.
    let last = whole.text.chars().last().unwrap();
    assert_eq!(ask(&format!("{last} that will not come")).text, whole.text);
}

/// A penalty that no token stands: the next of its kind comes as soon as it is forgotten, and no sooner.
#[test]
fn the_penalty_looks_back_on_so_many_tokens() {
    let (worker, _folder) = worker();
    let apart = |token: u32| {
        let asked = json!({
            "prompt": { "tokens": [token] }, "maxNewTokens": 150, "sampling": { "repetitionPenalty": 1e6 },
        });
        let (events, _) = drain(&worker.start(request(asked)).unwrap()).unwrap();
        let ids: Vec<u32> =
            events.into_iter().flat_map(|e| if let Event::Text(c) = e { c.token_ids } else { Vec::new() }).collect();
        (0..ids.len()).filter_map(|i| Some(i - ids[..i].iter().rposition(|id| *id == ids[i])?)).min()
    };
    assert_eq!((30..45).filter_map(apart).min(), Some(65));
}

#[test]
fn cancelling_keeps_the_text_and_aborting_does_not() {
    let (worker, _folder) = worker();
    let run = worker.start(endless()).unwrap();
    first_text(&run);
    run.cancel();
    let (_, outcome) = drain(&run).unwrap();
    assert_eq!(outcome.finish_reason, FinishReason::Cancelled);
    assert!(!outcome.text.is_empty());

    let run = worker.start(endless()).unwrap();
    first_text(&run);
    run.abort();
    assert_eq!(drain(&run).unwrap_err().code, Code::Cancelled);
}

#[test]
fn requests_wait_for_each_other() {
    let (worker, _folder) = worker();
    let first = worker.start(endless()).unwrap();
    let second = worker.start(short()).unwrap();
    let began = Instant::now();
    first_text(&first);
    let held = began.elapsed();
    first.cancel();
    let waited = drain(&second).unwrap().1.timings.queue_ms;
    assert!(waited >= held.as_secs_f64() * 1e3, "{waited} ms, held for {held:?}");
    // A run that nobody wants any more makes room for the next.
    drop(worker.start(endless()).unwrap());
    drain(&worker.start(short()).unwrap()).unwrap();
}

#[test]
fn an_abort_wakes_a_generation_that_waits_for_its_reader() {
    let (worker, _folder) = worker();
    let run = worker.start(endless()).unwrap();
    first_text(&run);
    // Long enough for the generation to fill all the room that events have.
    std::thread::sleep(Duration::from_millis(500));
    run.abort();
    drain(&worker.start(short()).unwrap()).unwrap();
    assert_eq!(drain(&run).unwrap_err().code, Code::Cancelled);
    assert_eq!(run.next_blocking().unwrap().unwrap_err().code, Code::Cancelled);
}

#[test]
fn a_panic_poisons_its_model_and_no_other() {
    let ((worker, _folder), (other, _other)) = (worker(), worker());
    let (go, wait) = mpsc::channel::<()>();
    let bad = worker
        .study(move |_, _| {
            wait.recv().unwrap();
            panic!("on purpose")
        })
        .unwrap();
    let waiting = worker.start(short()).unwrap();
    go.send(()).unwrap();
    let error = bad.next_blocking().unwrap().unwrap_err();
    assert!(error.code == Code::Internal && error.message.contains("on purpose"), "{error}");
    assert_eq!(drain(&waiting).unwrap_err().code, Code::Internal);
    assert_eq!(worker.start(short()).err().unwrap().code, Code::Internal);
    drain(&other.start(short()).unwrap()).unwrap();
}

#[test]
fn what_nobody_waits_for_is_cancelled() {
    let (worker, _folder) = worker();
    let ((dropped, wait), (tell, told)) = (mpsc::channel(), mpsc::channel());
    let study = move |_: &_, cancel: &Cancel| {
        wait.recv().unwrap();
        tell.send(cancel.is_set()).unwrap();
        Ok(())
    };
    drop(worker.study(study).unwrap());
    dropped.send(()).unwrap();
    assert!(told.recv().unwrap());
}

#[test]
fn a_full_queue_is_busy() {
    let (worker, _folder) = worker_with(LoadOptions { max_queue: Some(1), ..LoadOptions::default() });
    let _running = worker.start(endless()).unwrap();
    let _waiting = worker.start(endless()).unwrap();
    let error = worker.start(endless()).err().unwrap();
    assert_eq!((error.code, &error.details["waiting"], &error.details["limit"]), (Code::Busy, &json!(1), &json!(1)));
}

#[test]
fn who_has_left_takes_no_place_in_the_queue() {
    let (worker, _folder) = worker_with(LoadOptions { max_queue: Some(1), ..LoadOptions::default() });
    let running = worker.start(endless()).unwrap();
    first_text(&running);
    drop(worker.start(endless()).unwrap());
    let aborted = worker.start(endless()).unwrap();
    aborted.abort();
    let stopped = worker.start(endless()).unwrap();
    stopped.cancel();
    assert_eq!(worker.start(short()).err().unwrap().code, Code::Busy, "who waits for an end still waits");
    running.cancel();
    assert_eq!(drain(&stopped).unwrap().1.finish_reason, FinishReason::Cancelled);
    assert_eq!(drain(&aborted).unwrap_err().code, Code::Cancelled);
}

#[test]
fn disposing_ends_everything() {
    let (worker, _folder) = worker();
    let running = worker.start(endless()).unwrap();
    let waiting = worker.start(endless()).unwrap();
    first_text(&running);
    let gone = worker.dispose();
    assert!(gone.recv_blocking().is_err(), "the receiver closes when the memory is free");
    assert_eq!(running.next_blocking().unwrap().unwrap_err().code, Code::Disposed);
    assert_eq!(waiting.next_blocking().unwrap().unwrap_err().code, Code::Disposed);
    assert_eq!(worker.start(endless()).err().unwrap().code, Code::Disposed);
    assert!(worker.dispose().recv_blocking().is_err());
}

#[test]
fn disposing_ends_an_answer_whose_last_event_waits_for_its_reader() {
    // With one of these lengths the channel is full just when the answer ends.
    let held = (40..90).map(|tokens| {
        let (worker, folder) = worker();
        let run = worker.start(request(json!({ "prompt": "once upon a time", "maxNewTokens": tokens }))).unwrap();
        (worker, run, folder)
    });
    let held: Vec<_> = held.collect();
    std::thread::sleep(Duration::from_millis(500));
    let gone: Vec<_> = held.iter().map(|(worker, ..)| worker.dispose()).collect();
    let latest = Instant::now() + Duration::from_secs(60);
    while !gone.iter().all(|gone| gone.is_closed()) {
        assert!(Instant::now() < latest, "a model is not freed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_slow_reader_holds_the_generation_and_dropping_frees_it() {
    let (worker, _folder) = worker();
    let slow = worker.start(endless()).unwrap();
    first_text(&slow);
    std::thread::sleep(Duration::from_secs(1));
    slow.cancel();
    let (_, outcome) = drain(&slow).unwrap();
    assert!(outcome.usage.new_tokens < 200, "{:?}", outcome.usage);
    let slow = worker.start(endless()).unwrap();
    first_text(&slow);
    drop(slow);
    let (_, outcome) = drain(&worker.start(short()).unwrap()).unwrap();
    assert!(outcome.usage.new_tokens >= 1);
}

#[test]
fn options_that_cannot_work_are_refused_before_the_work() {
    let (worker, _folder) = worker();
    for (policy, option) in [
        (json!({ "kind": "gemfilter", "layer": 5 }), "policy.layer"),
        (json!({ "kind": "gemfilter", "score": { "heads": [{ "layer": 1, "head": 4 }] } }), "policy.score.heads"),
        (
            json!({ "kind": "promptdistill", "stages": [{ "layer": 3, "budget": 9 }, { "layer": 2, "budget": 4 }] }),
            "policy.stages[1].layer",
        ),
        (json!({ "kind": "snapkv", "budget": 32 }), "policy.budget"),
        (json!({ "kind": "h2o", "recent": 0 }), "policy.recent"),
    ] {
        let error = worker.start(request(json!({ "prompt": "a", "policy": policy }))).err().unwrap();
        assert_eq!((error.code, &error.details["option"]), (Code::InvalidArg, &json!(option)));
    }
    let pins = request(
        json!({ "prompt": { "document": "a b c d e f g h i j k l", "question": "what is it that you see here?" }, "policy": { "kind": "gemfilter", "budget": 3, "layer": 1 } }),
    );
    assert_eq!(drain(&worker.start(pins).unwrap()).unwrap_err().code, Code::InvalidArg);
}

#[test]
fn a_selection_can_be_replayed() {
    let (worker, _folder) = worker();
    let prompt = "the quick brown fox jumps over the lazy dog and runs away from all of them";
    let ask = |extra: Value| {
        let mut value = json!({ "prompt": prompt, "maxNewTokens": 6 });
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        drain(&worker.start(request(value)).unwrap()).unwrap()
    };
    for policy in [
        json!({ "kind": "gemfilter", "budget": 40, "layer": 2 }),
        json!({ "kind": "promptdistill", "stages": [{ "layer": 2, "budget": 40 }] }),
    ] {
        let (events, first) = ask(json!({ "policy": policy }));
        let kept = events.iter().find_map(|e| if let Event::Selection(s) = e { Some(s.indices.clone()) } else { None });
        let (_, again) = ask(json!({ "policy": policy, "forceIndices": kept.unwrap() }));
        assert_eq!(again.text, first.text);
        assert_eq!(again.usage.kept_tokens, first.usage.kept_tokens);
    }
    let error =
        worker.start(request(json!({ "prompt": prompt, "policy": { "kind": "h2o" }, "forceIndices": [1] }))).err();
    assert_eq!(error.unwrap().details["option"], "forceIndices");
}
