//! Runs: they stop and go on without a trace, fail without loss, and leave models that the loader reads.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use candle_core::DType;
use serde_json::json;
use skimlm_core::{Code, Role, Rows};
use skimlm_engine::{Cancel, Control, LoadOptions, Session, load};
use skimlm_models::weights::gguf::write::{Tiny, write_tiny};
use skimlm_policies::{Context, PolicySpec};
use skimlm_train::anchors::{self, Anchors};
use skimlm_train::checkpoint::Checkpoint;
use skimlm_train::course::{Course, End, Plan, Run};
use skimlm_train::journal::Line;
use skimlm_train::net::Net;
use skimlm_train::optim::{AdamW, Optimizer, Rate};
use skimlm_train::source::Origin;
use skimlm_train::task::{Level, Sample};
use skimlm_train::text::{self, Mask, Text};

const SETTINGS: AdamW = AdamW { beta1: 0.9, beta2: 0.98, eps: 1e-8, decay: 0.05, clip: 1.0 };
const LEVEL: Level = Level { segments: 3, pairs: 1, fillers: 1 };

fn plan(steps: u64, peak: f64, files: Vec<(String, Vec<u8>)>) -> Plan {
    let rate = Rate { peak, warm: 2, steps, fall: 0.3 };
    Plan { rate, log_every: 2, save_every: 3, dtype: DType::F32, title: "a test".into(), files }
}

fn small(folder: &Path, steps: u64, peak: f64) -> Run<Anchors> {
    let config = anchors::config(16, 2, 24).unwrap();
    let files = anchors::files(&config).unwrap();
    let net = Net::random(config, 5).unwrap();
    let optimizer = Optimizer::new(SETTINGS, net.trained()).unwrap();
    let course = Anchors::new(LEVEL, 4, 2, 0.3, 5).unwrap();
    Run::new(net, optimizer, course, Checkpoint::new(folder), plan(steps, peak, files))
}

fn train<C: Course>(run: &mut Run<C>, cancel: &Cancel, lines: &mut Vec<Line>) -> skimlm_core::Result<End> {
    run.train(cancel, &mut |line| lines.push(line.clone()), &mut |_, _| {})
}

fn weights(net: &Net) -> Vec<Vec<f32>> {
    net.trained().iter().map(|(_, var)| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
}

#[test]
fn a_run_that_was_stopped_goes_on_as_if_it_had_not_been() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut whole, mut lines) = (small(one.path(), 8, 2e-3), Vec::new());
    assert_eq!(train(&mut whole, &Cancel::default(), &mut lines).unwrap(), End::Done);

    // Stopped in the middle of a line of the log, between two saves.
    let cancel = Cancel::default();
    let mut first = small(two.path(), 8, 2e-3);
    let stop = cancel.clone();
    let mut tick = |step, _| {
        if step == 5 {
            stop.stop();
        }
    };
    assert_eq!(first.train(&cancel, &mut |_| {}, &mut tick).unwrap(), End::Stopped);
    // Had it been killed between the two, the state would be there and the log not.
    std::fs::remove_file(two.path().join("log.jsonl")).unwrap();
    let mut second = small(two.path(), 8, 2e-3).resume().unwrap();
    assert_eq!(second.optimizer.steps, 5);
    assert_eq!(train(&mut second, &Cancel::default(), &mut Vec::new()).unwrap(), End::Done);

    assert_eq!(weights(&second.net), weights(&whole.net), "bit for bit");
    let log = |folder: &Path| -> Vec<Line> {
        let text = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
        text.lines().map(|line| Line { seconds: 0.0, ..serde_json::from_str(line).unwrap() }).collect()
    };
    assert_eq!(log(two.path()), log(one.path()));
    assert_eq!(log(one.path()).len(), 4);
    let svg = std::fs::read_to_string(one.path().join("curve.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("accuracy"), "{}", &svg[..200]);
}

#[test]
fn a_loss_that_is_no_number_loses_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = small(folder.path(), 3, 2e-3);
    train(&mut run, &Cancel::default(), &mut Vec::new()).unwrap();
    let before = std::fs::read(folder.path().join("training/state.safetensors")).unwrap();
    let mut wild = small(folder.path(), 50, 1e30).resume().unwrap();
    let error = train(&mut wild, &Cancel::default(), &mut Vec::new()).unwrap_err();
    assert_eq!(error.code, Code::Numerics, "{error}");
    assert_eq!(std::fs::read(folder.path().join("training/state.safetensors")).unwrap(), before);
}

#[test]
fn what_cannot_be_written_or_read_is_a_coded_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let error = train(&mut small(&file.join("run"), 2, 2e-3), &Cancel::default(), &mut Vec::new()).unwrap_err();
    assert_eq!(error.code, Code::Storage, "{error}");
    assert_eq!(small(&folder.path().join("none"), 2, 2e-3).resume().err().unwrap().code, Code::Storage);

    let run = folder.path().join("run");
    train(&mut small(&run, 2, 2e-3), &Cancel::default(), &mut Vec::new()).unwrap();
    let state = run.join("training/state.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(small(&run, 2, 2e-3).resume().err().unwrap().code, Code::ModelCorrupt);
}

/// Logits of the last token through the engine.
fn through_the_engine(path: &Path, policy: &serde_json::Value, tokens: &[u32]) -> Vec<f32> {
    let options = LoadOptions { dtype: Some("f32".into()), ..LoadOptions::default() };
    let loaded = load(path, &options, &mut |_, _| Ok(())).unwrap();
    let context = Context::new(loaded.model.shape(), 0);
    let policy = PolicySpec::parse(policy).unwrap().build(&context).unwrap();
    let mut session = Session::new(&*loaded.model, policy, DType::F32).unwrap();
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 512, headroom: 0 };
    session.prefill(Rows::consecutive(tokens.to_vec(), 0, Role::Document), &mut control).unwrap()
}

fn last_logits(net: &Net, window: &[u32], anchors: &[u32], mask: Mask) -> Vec<f32> {
    let mut batch = text::batch(&[window], anchors, mask);
    let last = batch.asked.len() - 1;
    (batch.asked, batch.answers) = (vec![last as u32], vec![batch.answers[last]]);
    net.logits(&batch).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_near(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{got}, not {want}");
    }
}

#[test]
fn a_checkpoint_is_a_model_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = small(folder.path(), 4, 2e-3);
    train(&mut run, &Cancel::default(), &mut Vec::new()).unwrap();
    let sample = &Sample::held_out(LEVEL, 1, 1)[0];
    let window: Vec<u32> = sample.prefix.iter().copied().chain([7]).collect();
    let anchors = [skimlm_train::words::AC];
    let policies = [
        (json!({ "kind": "full" }), Mask::Full),
        (json!({ "kind": "anllm", "anchors": anchors, "question": false }), Mask::Anchors { sinks: 0 }),
    ];
    for (policy, mask) in policies {
        let got = through_the_engine(folder.path(), &policy, &sample.prefix);
        assert_near(&got, &last_logits(&run.net, &window, &anchors, mask), 1e-4);
    }
}

#[test]
fn a_gguf_file_is_continued_and_becomes_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (gguf, words) = (folder.path().join("tiny.gguf"), folder.path().join("text.txt"));
    write_tiny(&gguf, &Tiny::default()).unwrap();
    std::fs::write(&words, "the thing 42 is on the thing. ".repeat(60)).unwrap();
    let origin = Origin::open(&gguf).unwrap();
    let tokens = origin.tokens(&[&words]).unwrap();
    let anchors = vec![tokens[9]];
    for (rank, name) in [(0, "full"), (2, "adapters")] {
        let mut net = origin.net(rank == 0).unwrap();
        let window = &tokens[..14];
        let stock = through_the_engine(&gguf, &json!({ "kind": "full" }), &window[..13]);
        assert_near(&last_logits(&net, window, &anchors, Mask::Full), &stock, 1e-3);
        if rank > 0 {
            net.adapt(rank, 3).unwrap();
            assert_near(&last_logits(&net, window, &anchors, Mask::Full), &stock, 1e-3);
        }
        let optimizer = Optimizer::new(SETTINGS, net.trained()).unwrap();
        let mut course = Text::new(tokens.clone(), None, anchors.clone(), 12).unwrap();
        course.sequences = 3;
        let out = folder.path().join(name);
        let files = origin.files(&net).unwrap();
        let mut run = Run::new(net, optimizer, course, Checkpoint::new(&out), plan(25, 5e-3, files));
        let mut lines = Vec::new();
        train(&mut run, &Cancel::default(), &mut lines).unwrap();
        let held_out = |line: &Line| line.more["heldOut"].as_f64().unwrap();
        assert!(held_out(lines.last().unwrap()) < 0.8 * held_out(&lines[0]), "{name}: {lines:?}");
        let [.., before, last] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((before.step, last.step), (24, 25));
        assert_ne!(held_out(before), held_out(last), "{name}: the last line has numbers of its own");
        let policy = json!({ "kind": "anllm", "anchors": anchors, "question": false });
        let got = through_the_engine(&out, &policy, &window[..13]);
        assert_near(&got, &last_logits(&run.net, window, &anchors, Mask::Anchors { sinks: 0 }), 1e-3);
        assert_ne!(got, through_the_engine(&gguf, &policy, &window[..13]));
    }
}

#[test]
fn bad_texts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (gguf, bad) = (folder.path().join("tiny.gguf"), folder.path().join("bad.txt"));
    write_tiny(&gguf, &Tiny::default()).unwrap();
    std::fs::write(&bad, [b'a', 0xFF, b'b']).unwrap();
    let origin = Origin::open(&gguf).unwrap();
    let error = origin.tokens(&[&bad]).unwrap_err();
    assert_eq!((error.code, &error.details["option"]), (Code::InvalidArg, &json!("text")), "{error}");
    assert_eq!(origin.tokens(&[folder.path().join("none")]).unwrap_err().code, Code::Storage);
    assert_eq!(origin.anchors("<no such token>").unwrap_err().code, Code::InvalidArg);
}
