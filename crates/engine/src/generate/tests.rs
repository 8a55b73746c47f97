use serde_json::{Value, json};
use skimlm_models::weights::gguf::write::{Tiny, write_tiny};

use super::*;
use crate::load::{LoadOptions, load};

#[test]
fn the_likeliest_come_best_first_and_equals_by_id() {
    assert_eq!(most_likely(&[0.5, 2.0, 0.5, 3.0]), [3, 1, 0, 2]);
    assert_eq!(most_likely(&[1.0; TOP]), (0..TOP as u32).collect::<Vec<_>>());
    let many: Vec<f32> = (0..50).map(|i| (i * 7 % 50) as f32).collect();
    let best: Vec<f32> = most_likely(&many).iter().map(|&id| many[id as usize]).collect();
    assert_eq!(best, (40..50).rev().map(|logit| logit as f32).collect::<Vec<_>>());
}

#[test]
fn times_are_in_milliseconds_and_the_first_token_is_no_decoding() {
    let ms = Duration::from_millis;
    let spent = Spent { filter: ms(1), select: ms(2), prefill: ms(3), decode: ms(4) };
    let of = |decode, new_tokens| times(ms(10), ms(20), spent, ms(30), decode, new_tokens);
    let five = Timings {
        queue_ms: 10.0,
        tokenize_ms: 20.0,
        filter_ms: 1.0,
        select_ms: 2.0,
        prefill_ms: 3.0,
        ttft_ms: 40.0,
        decode_ms: 500.0,
        tokens_per_second: 8.0,
    };
    assert_eq!(of(ms(500), 5), five);
    assert_eq!((of(ms(500), 1).tokens_per_second, of(ms(0), 5).tokens_per_second), (0.0, 0.0));
}

/// The events of an answer but for progress, and what it ends with but for times.
fn answer(loaded: &Loaded, request: &Value, ahead: bool) -> (Vec<String>, Value) {
    let (request, cancel, mut events) = (Request::parse(request).unwrap(), Cancel::default(), Vec::new());
    let mut emit = |event: Event| {
        if let Event::Text(chunk) = &event {
            events.push(format!("{chunk:?}"));
        }
    };
    let outcome = generate_with(loaded, &request, &cancel, Duration::ZERO, ahead, &mut emit).unwrap();
    assert!(outcome.timings.decode_ms >= 0.0);
    let mut outcome = serde_json::to_value(&outcome).unwrap();
    for what in ["timings", "memory"] {
        let kept = outcome[what]["layerEntries"].take();
        outcome[what] = kept;
    }
    (events, outcome)
}

fn tiny() -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    write_tiny(&file, &Tiny::default()).unwrap();
    load(&file, &LoadOptions::default(), &mut |_, _| Ok(())).unwrap()
}

#[test]
fn nothing_is_kept_of_a_prompt_that_was_not_read() {
    let (loaded, cancel) = (tiny(), Cancel::default());
    cancel.stop();
    for policy in [json!({ "kind": "full" }), json!({ "kind": "gemfilter", "budget": 20, "layer": 2 })] {
        let request = json!({ "prompt": "once upon a time, and then again", "policy": policy });
        let request = Request::parse(&request).unwrap();
        let outcome = generate(&loaded, &request, &cancel, Duration::ZERO, &mut |_| {}).unwrap();
        assert_eq!((outcome.finish_reason, outcome.usage.kept_tokens), (FinishReason::Cancelled, 0), "{policy}");
        assert!(outcome.usage.prompt_tokens > 0);
    }
}

/// Greedy or not, ended by its length, a stop string or the model's own end: text, tokens, statistics and entries.
#[test]
fn an_answer_ahead_is_the_answer() {
    let loaded = tiny();
    let plain = json!({ "prompt": "once upon a time", "maxNewTokens": 60, "sampling": { "seed": 5 } });
    let text = answer(&loaded, &plain, false).1["text"].as_str().unwrap().to_owned();
    let middle: String = text.chars().skip(text.chars().count() / 2).take(3).collect();
    let changed = |name: &str, value: Value| {
        let mut request = plain.clone();
        request[name] = value;
        request
    };
    let ends = loaded.tokenizer.end_tokens().len();
    assert!(ends > 0);
    for request in [
        plain.clone(),
        changed("maxNewTokens", json!(3)),
        changed("stop", json!([middle])),
        changed("sampling", json!({ "temperature": 1.0, "seed": 5 })),
        changed("sampling", json!({ "repetitionPenalty": 1.3, "seed": 5 })),
        changed("policy", json!({ "kind": "snapkv", "budget": 8, "window": 2 })),
        changed("policy", json!({ "kind": "sinkwindow", "sink": 2, "recent": 6 })),
    ] {
        assert_eq!(answer(&loaded, &request, true), answer(&loaded, &request, false), "{request}");
    }
}
