//! The hash-weight model against the values of the NumPy reference: index sets equal, logits within 1e-4.

use candle_core::{DType, Device};
use serde_json::json;
use skimlm_core::{Model, Role, Rows};
use skimlm_engine::{Cancel, Control, Session};
use skimlm_models::Decoder;
use skimlm_models::weights::random::{Random, Sizes, golden_ids};
use skimlm_policies::{Context, PolicySpec};

const TOLERANCE: f32 = 1e-4;

struct Case {
    policy: serde_json::Value,
    kept: Option<&'static [u32]>,
    logits: [f32; 6],
    greedy: [u32; 4],
    after: [f32; 6],
    entries: [usize; 6],
}

fn model() -> Decoder {
    Decoder::new(&Random::new(&Sizes::default()).unwrap(), &Device::Cpu).unwrap()
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

fn assert_near(got: &[f32], want: &[f32], what: &str) {
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < TOLERANCE, "{what}: got {got}, want {want}");
    }
}

fn check(case: &Case, chunk: usize) {
    let model = model();
    let context = Context { shape: model.shape(), default_layer: 2, forced: None };
    let policy = PolicySpec::parse(&case.policy).unwrap();
    policy.check(&context).unwrap();
    let mut session = Session::new(&model, policy.build(&context).unwrap(), DType::F32).unwrap();
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk, headroom: 8 };
    let rows = Rows::consecutive(golden_ids(48, 97), 0, Role::Document);
    let name = format!("{} in chunks of {chunk}", case.policy);
    let mut logits = session.prefill(rows, &mut control).unwrap();
    assert_near(&logits, &case.logits, &name);
    assert_eq!(session.report().map(|r| r.indices).as_deref(), case.kept, "{name}");
    assert_eq!(session.cache().lengths(), case.entries, "{name}");
    for want in case.greedy {
        let id = argmax(&logits);
        assert_eq!(id, want, "{name}");
        logits = session.step(id, &mut control).unwrap();
    }
    assert_near(&logits, &case.after, &name);
}

fn check_every_chunking(case: &Case) {
    for chunk in [1, 5, 16, 47, 48, 512] {
        check(case, chunk);
    }
}

#[test]
fn full() {
    check_every_chunking(&Case {
        policy: json!({ "kind": "full" }),
        kept: None,
        logits: [0.43779, 0.06069, -0.57557, 0.08559, -0.12044, -0.37390],
        greedy: [43, 60, 60, 60],
        after: [0.15916, -0.14601, -0.84692, 0.74822, -0.00333, -1.27591],
        entries: [48; 6],
    });
}

#[test]
fn gemfilter_as_published() {
    let mut policy = PolicySpec::preset("gemfilter-paper").unwrap().to_json();
    policy["layer"] = 2.into();
    policy["budget"] = 12.into();
    check_every_chunking(&Case {
        policy,
        kept: Some(&[5, 6, 7, 8, 9, 10, 11, 12, 26, 27, 28, 29]),
        logits: [1.44496, -0.49451, -0.46145, -0.57858, -0.93560, -1.44502],
        greedy: [21, 9, 36, 73],
        after: [-0.13485, 1.13202, 0.39400, -0.30557, 0.98088, 0.83636],
        entries: [12; 6],
    });
}
