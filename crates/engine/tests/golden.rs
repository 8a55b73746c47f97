//! The hash-weight model against the values of the NumPy reference: index sets equal, logits within 1e-4.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic)]

use candle_core::{DType, Device};
use serde_json::json;
use skimlm_core::{Model, Role, Rows};
use skimlm_engine::{Cancel, Control, Session};
use skimlm_models::Decoder;
use skimlm_models::weights::random::{Random, Sizes, golden_ids};
use skimlm_policies::{Context, PolicySpec};

mod common;

use common::{argmax, preset, stages};

const TOLERANCE: f32 = 1e-4;

struct Case {
    policy: serde_json::Value,
    /// Kept prompt tokens, where all heads keep the same.
    kept: Option<&'static [u32]>,
    /// Kept prompt tokens of some heads: (layer, head, indices).
    heads: &'static [(usize, usize, &'static [u32])],
    logits: [f32; 6],
    greedy: &'static [u32],
    after: [f32; 6],
    entries: [usize; 6],
}

fn model() -> Decoder {
    Decoder::new(&Random::new(&Sizes::default()).unwrap(), &Device::Cpu).unwrap()
}

fn assert_near(got: &[f32], want: &[f32], what: &str) {
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < TOLERANCE, "{what}: got {got}, want {want}");
    }
}

fn check(case: &Case, chunk: usize) {
    let model = model();
    let context = Context::new(model.shape(), 2);
    let policy = PolicySpec::parse(&case.policy).unwrap();
    policy.check(&context).unwrap();
    let mut session = Session::new(&model, policy.build(&context).unwrap(), DType::F32).unwrap();
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk, headroom: 8 };
    let rows = Rows::consecutive(golden_ids(48, 97), 0, Role::Document);
    let name = format!("{} in chunks of {chunk}", case.policy);
    let mut logits = session.prefill(rows, &mut control).unwrap();
    assert_near(&logits, &case.logits, &name);
    let report = session.report();
    if let Some(kept) = case.kept {
        assert_eq!(report.as_ref().map(|r| r.indices.as_slice()), Some(kept), "{name}");
    }
    for (layer, head, kept) in case.heads {
        let heads = report.as_ref().and_then(|r| r.heads.as_ref()).unwrap();
        assert_eq!(heads[*layer].heads[*head], *kept, "{name}: layer {layer}, head {head}");
    }
    assert_eq!(session.cache().lengths(), case.entries, "{name}");
    for &want in case.greedy {
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

const FULL: [f32; 6] = [0.43779, 0.06069, -0.57557, 0.08559, -0.12044, -0.37390];

#[test]
fn full() {
    check_every_chunking(&Case {
        policy: json!({ "kind": "full" }),
        kept: None,
        heads: &[],
        logits: FULL,
        greedy: &[43, 60, 60, 60],
        after: [0.15916, -0.14601, -0.84692, 0.74822, -0.00333, -1.27591],
        entries: [48; 6],
    });
}

#[test]
fn gemfilter_as_published() {
    check_every_chunking(&Case {
        policy: preset("gemfilter-paper", json!({ "layer": 2, "budget": 12 })),
        kept: Some(&[5, 6, 7, 8, 9, 10, 11, 12, 26, 27, 28, 29]),
        heads: &[],
        logits: [1.44496, -0.49451, -0.46145, -0.57858, -0.93560, -1.44502],
        greedy: &[21, 9, 36, 73],
        after: [-0.13485, 1.13202, 0.39400, -0.30557, 0.98088, 0.83636],
        entries: [12; 6],
    });
}

#[test]
fn promptdistill_with_one_stage() {
    let case = |truncate, entries, greedy, after| Case {
        policy: stages(&[(2, 12)], truncate),
        kept: Some(&[5, 6, 7, 8, 9, 10, 11, 12, 26, 27, 28, 29, 47]),
        heads: &[],
        logits: [0.63671, 0.01883, -0.53549, 0.62021, -0.19602, -0.99091],
        greedy,
        after,
        entries,
    };
    let after = [2.10660, 0.72010, 0.15506, 0.30823, -0.06536, 0.27821];
    check_every_chunking(&case(0, [48, 48, 48, 13, 13, 13], &[43, 54, 25, 46], after));
    let after = [1.71004, -1.19021, -0.27983, 0.88327, 0.52238, -0.15566];
    check_every_chunking(&case(1, [13; 6], &[43, 54, 11, 11], after));
    check_every_chunking(&case(-1, [13; 6], &[43, 54, 11, 11], after));
}

#[test]
fn promptdistill_with_two_stages() {
    let case = |truncate, entries, greedy, after| Case {
        policy: stages(&[(1, 20), (3, 10)], truncate),
        kept: Some(&[12, 18, 19, 20, 27, 36, 37, 38, 40, 43, 47]),
        heads: &[],
        logits: [0.39449, 0.38447, -0.33507, 0.58717, -0.50458, -0.44951],
        greedy,
        after,
        entries,
    };
    let after = [0.83511, 0.44218, -0.59005, 0.55328, -1.00674, -0.93536];
    check_every_chunking(&case(0, [48, 48, 21, 21, 11, 11], &[36, 79, 34, 79], after));
    let after = [1.35106, 0.97512, 0.54701, -0.19450, 0.32754, 1.30781];
    check_every_chunking(&case(1, [21, 21, 21, 21, 11, 11], &[36, 42, 1, 59], after));
    let after = [1.41626, 0.75737, -0.19918, -0.59985, 0.38519, 0.56124];
    check_every_chunking(&case(2, [11; 6], &[36, 6, 73, 41], after));
}

#[test]
fn promptdistill_with_an_earlier_query_token() {
    let mut policy = stages(&[(2, 12)], 0);
    policy["queryToken"] = 40.into();
    check_every_chunking(&Case {
        policy,
        kept: Some(&[0, 1, 2, 9, 10, 18, 19, 20, 21, 22, 23, 24, 40, 41, 42, 43, 44, 45, 46, 47]),
        heads: &[],
        logits: [-0.09542, 0.06768, -0.88172, -0.36743, 0.07724, -0.52891],
        greedy: &[],
        after: [-0.09542, 0.06768, -0.88172, -0.36743, 0.07724, -0.52891],
        entries: [48, 48, 48, 20, 20, 20],
    });
}

#[test]
fn snapkv_as_published() {
    check_every_chunking(&Case {
        policy: preset("snapkv-gemfilter", json!({ "window": 4, "budget": 16 })),
        kept: None,
        heads: &[
            (0, 0, &[19, 20, 21, 22, 23, 30, 31, 32, 33, 34, 35, 36, 44, 45, 46, 47]),
            (5, 3, &[14, 15, 16, 17, 18, 21, 25, 34, 35, 36, 37, 38, 44, 45, 46, 47]),
        ],
        logits: FULL,
        greedy: &[43, 79, 53, 95],
        after: [0.51945, -1.20054, -0.74319, -0.14348, 0.45214, 0.60127],
        entries: [16; 6],
    });
    check_every_chunking(&Case {
        policy: preset("snapkv-paper", json!({ "window": 4, "budget": 16 })),
        kept: None,
        heads: &[(0, 0, &[18, 19, 20, 21, 22, 31, 32, 33, 34, 35, 36, 37, 44, 45, 46, 47])],
        logits: FULL,
        greedy: &[43, 79, 45, 14],
        after: [0.11776, 0.03323, -0.44048, -0.10719, -0.42417, -0.65347],
        entries: [16; 6],
    });
}

#[test]
fn h2o_as_published() {
    let heads: &[(usize, usize, &[u32])] = &[
        (0, 0, &[0, 1, 2, 3, 4, 9, 11, 14, 16, 21, 23, 32, 44, 45, 46, 47]),
        (5, 3, &[0, 1, 2, 4, 5, 6, 12, 14, 16, 23, 27, 36, 44, 45, 46, 47]),
    ];
    check_every_chunking(&Case {
        policy: preset("h2o-gemfilter", json!({ "heavy": 12, "recent": 4 })),
        kept: None,
        heads,
        logits: FULL,
        greedy: &[43, 54, 70, 0],
        after: [1.03056, 0.29528, -0.58660, -0.09886, -0.62613, 1.03742],
        entries: [16; 6],
    });
    check_every_chunking(&Case {
        policy: preset("h2o-upstream", json!({ "heavy": 12, "recent": 4 })),
        kept: None,
        heads,
        logits: FULL,
        greedy: &[43, 54, 70, 0, 11, 61, 33, 33],
        after: [0.55807, 0.71650, -0.09727, -0.24691, -1.32705, -0.22008],
        entries: [16; 6],
    });
}
