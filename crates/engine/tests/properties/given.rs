//! Random models, prompts and policies, and how they are run.

use candle_core::{DType, Device};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use skimlm_core::{Model, Result, Role, Rows};
use skimlm_engine::{Cancel, Control, Session};
use skimlm_models::Decoder;
use skimlm_models::weights::random::{Random, Sizes};
use skimlm_policies::{Context, PolicySpec};

/// The same cases in every run, unless `PROPTEST_RNG_SEED` or `PROPTEST_CASES` ask for others.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(20240917);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config
}

/// A model's sizes and a prompt.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) sizes: Sizes,
    pub(crate) tokens: Vec<u32>,
    pub(crate) roles: Vec<Role>,
    pub(crate) chunk: usize,
}

impl Given {
    pub(crate) fn model(&self) -> Decoder {
        Decoder::new(&Random::new(&self.sizes).unwrap(), &Device::Cpu).unwrap()
    }

    /// Every token once: equal tokens have scores that only rounding tells apart.
    pub(crate) fn without_repeats(mut self) -> Self {
        let (first, vocab) = (self.tokens[0], self.sizes.vocab as u32);
        (first..).zip(&mut self.tokens).for_each(|(new, token)| *token = new % vocab);
        self
    }

    pub(crate) fn n(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn rows(&self) -> Rows {
        rows(&self.tokens, &self.roles)
    }
}

pub(crate) fn rows(tokens: &[u32], roles: &[Role]) -> Rows {
    let mut rows = Rows::consecutive(tokens.to_vec(), 0, Role::Document);
    rows.roles.copy_from_slice(roles);
    rows
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let heads = (1..=3usize, 1..=3usize);
    (2..=5usize, heads, select(vec![2usize, 4, 6, 8]), 4..=20usize, 40..=60usize).prop_map(
        |(layers, (kv_heads, group), head_dim, hidden, vocab)| Sizes {
            vocab,
            hidden,
            layers,
            heads: kv_heads * group,
            kv_heads,
            head_dim,
            mlp: 2 * hidden,
            ..Sizes::default()
        },
    )
}

/// Prompts of so many tokens.
pub(crate) fn given(tokens: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Given> {
    let roles = [Role::Document, Role::Document, Role::Document, Role::Question, Role::System, Role::Template];
    (sizes(), tokens).prop_flat_map(move |(sizes, n)| {
        let vocab = sizes.vocab as u32;
        (Just(sizes), vec(0..vocab, n), vec(select(roles.to_vec()), n), 1..=n + 2)
            .prop_map(|(sizes, tokens, roles, chunk)| Given { sizes, tokens, roles, chunk })
    })
}

/// Prompts with a policy that suits the model and does not refuse the prompt.
pub(crate) fn given_with<S: Strategy<Value = Value>>(
    tokens: std::ops::RangeInclusive<usize>,
    policy: impl Fn(&Given) -> S + Copy,
) -> impl Strategy<Value = (Given, Value)> {
    given(tokens).prop_flat_map(move |given| {
        let policy = policy(&given);
        (Just(given), policy)
    })
}

pub(crate) fn pins() -> impl Strategy<Value = Value> {
    (0..3usize, any::<bool>(), any::<bool>(), any::<bool>(), 0..3usize).prop_map(
        |(sinks, template, system, question, last)| {
            json!({
                "sinks": sinks, "template": template, "system": system, "question": question, "last": last,
                "chargeBudget": false,
            })
        },
    )
}

pub(crate) fn score() -> impl Strategy<Value = Value> {
    let queries =
        prop_oneof![Just(json!("last")), Just(json!("question")), (1..9usize).prop_map(|w| json!({ "window": w }))];
    let pool = prop_oneof![
        Just(Value::Null),
        (0..4usize, select(vec!["avg", "max"]), select(vec!["zero", "valid"]))
            .prop_map(|(half, kind, edge)| json!({ "kind": kind, "width": 2 * half + 1, "edge": edge })),
    ];
    let round = prop_oneof![3 => Just(json!("token")), 1 => (1..7usize).prop_map(|width| json!({ "chunk": width }))];
    (queries, any::<bool>(), select(vec!["sum", "mean", "max"]), pool, round).prop_map(
        |(queries, softmax, heads, pool, round)| {
            json!({ "queries": queries, "softmax": softmax, "heads": heads, "pool": pool, "round": round })
        },
    )
}

fn budget(n: usize) -> impl Strategy<Value = Value> {
    prop_oneof![3 => (1..=n + 2).prop_map(|k| json!(k)), 1 => (0.05..1.0f64).prop_map(|ratio| json!({ "ratio": ratio }))]
}

pub(crate) fn gemfilter(given: &Given) -> BoxedStrategy<Value> {
    let positions = select(vec!["fresh", "original"]);
    (budget(given.n()), 0..given.sizes.layers - 1, score(), pins(), positions)
        .prop_map(|(budget, layer, score, pins, positions)| {
            json!({ "kind": "gemfilter", "budget": budget, "layer": layer, "score": score, "pins": pins, "positions": positions })
        })
        .boxed()
}

pub(crate) fn promptdistill(given: &Given) -> BoxedStrategy<Value> {
    let (n, layers) = (given.n(), given.sizes.layers);
    let stage = move |layer: usize| {
        (budget(n), score())
            .prop_map(move |(budget, score)| json!({ "layer": layer, "budget": budget, "score": score }))
    };
    proptest::sample::subsequence((0..layers - 1).collect::<Vec<_>>(), 1..layers)
        .prop_flat_map(move |at| {
            let stages: Vec<_> = at.into_iter().map(stage).collect();
            (stages, -1..4i32, proptest::option::of(0..n), pins(), any::<bool>())
        })
        .prop_map(|(stages, truncate, query, pins, zero)| {
            json!({
                "kind": "promptdistill", "stages": stages, "truncateStages": truncate, "queryToken": query,
                "pins": pins, "zeroTail": zero,
            })
        })
        .boxed()
}

/// The same with the rows closed up above each stage.
pub(crate) fn fresh(mut promptdistill: Value) -> Value {
    promptdistill["positions"] = "fresh".into();
    promptdistill
}

/// Policies that read everything and then drop cache entries, which keep their positions.
pub(crate) fn evicting(given: &Given) -> BoxedStrategy<Value> {
    let n = given.n();
    let window = (1..6usize, 1..=n + 2);
    let heads = || select(vec!["kv", "query"]);
    prop_oneof![
        3 => (window.clone(), heads(), select(vec!["avg", "max"]), 0..4usize, select(vec!["zero", "valid"])).prop_map(
            |((w, k), heads, pool, half, edge)| json!({
                "kind": "snapkv", "window": w, "budget": w + k, "headMode": heads, "pool": pool,
                "kernel": 2 * half + 1, "edge": edge,
            })
        ),
        3 => (1..=n + 2, 1..6usize, any::<bool>(), heads()).prop_map(|(heavy, recent, evict, heads)| json!({
            "kind": "h2o", "heavy": heavy, "recent": recent, "decodeEvict": evict, "headMode": heads,
        })),
        1 => (window.clone(), 1..9usize, heads()).prop_map(|((w, k), slope, heads)| json!({
            "kind": "pyramidkv", "window": w, "budget": w + k, "slope": slope, "headMode": heads,
        })),
        1 => (window, 0.0..1.0f64).prop_map(|((w, k), floor)| json!({
            "kind": "adakv", "window": w, "budget": w + k, "floor": floor,
        })),
        1 => (2..=n + 2).prop_map(|k| json!({ "kind": "tova", "budget": k })),
        1 => (2..=n + 2).prop_map(|k| json!({ "kind": "knorm", "budget": k })),
        1 => (2..=n + 2).prop_map(|k| json!({ "kind": "keydiff", "budget": k })),
        1 => (0..4usize, 1..=n + 2).prop_map(|(sink, recent)| json!({ "kind": "sinkwindow", "sink": sink, "recent": recent })),
    ]
    .boxed()
}

pub(crate) fn streaming(given: &Given) -> BoxedStrategy<Value> {
    (1..=given.n(), 1..5usize, select(vec!["kv", "query"]))
        .prop_map(|(heavy, recent, heads)| json!({
            "kind": "h2o", "heavy": heavy, "recent": recent, "decodeEvict": true, "headMode": heads, "positions": "fresh",
        }))
        .boxed()
}

/// Any policy.
pub(crate) fn every(given: &Given) -> BoxedStrategy<Value> {
    let fixed = (1..=given.n() + 2, 0..9u64, pins(), select(vec!["random", "firstlast"])).prop_map(
        |(budget, seed, pins, kind)| {
            let mut policy = json!({ "kind": kind, "budget": budget, "pins": pins });
            if kind == "random" {
                policy["seed"] = seed.into();
            }
            policy
        },
    );
    let anchors = (0..given.sizes.vocab, 0..3usize, any::<bool>()).prop_map(|(anchor, sinks, question)| {
        json!({ "kind": "anllm", "anchors": [anchor, 0, 1, 2], "sinks": sinks, "question": question })
    });
    prop_oneof![
        1 => Just(json!({ "kind": "full" })),
        2 => anchors,
        3 => gemfilter(given),
        4 => promptdistill(given),
        1 => promptdistill(given).prop_map(fresh),
        6 => evicting(given),
        1 => streaming(given),
        1 => fixed,
    ]
    .boxed()
}

/// A session under a policy given as JSON.
pub(crate) fn session<'m>(model: &'m dyn Model, policy: &Value) -> Session<'m> {
    try_session(model, policy, None).unwrap()
}

pub(crate) fn try_session<'m>(model: &'m dyn Model, policy: &Value, forced: Option<&[u32]>) -> Result<Session<'m>> {
    let layers = model.shape().layers.len();
    let context = Context { forced, ..Context::new(model.shape(), (layers * 2 / 5).min(layers - 2)) };
    let spec = PolicySpec::parse(policy)?;
    spec.check(&context)?;
    Session::new(model, spec.build(&context)?, DType::F32)
}

/// Calls `work` with a control that never cancels.
pub(crate) fn in_chunks<T>(chunk: usize, work: impl FnOnce(&mut Control<'_>) -> T) -> T {
    let cancel = Cancel::default();
    work(&mut Control { cancel: &cancel, progress: &mut |_| {}, chunk, headroom: 4 })
}

pub(crate) fn read(session: &mut Session<'_>, rows: Rows, chunk: usize) -> Vec<f32> {
    in_chunks(chunk, |control| session.prefill(rows, control)).unwrap()
}

pub(crate) fn step(session: &mut Session<'_>, token: u32) -> Vec<f32> {
    in_chunks(8, |control| session.step(token, control)).unwrap()
}

/// Positions of the entries of every bank of every layer.
pub(crate) fn entries(session: &Session<'_>) -> Vec<Vec<Vec<u32>>> {
    let cache = session.cache();
    let banks = |layer| cache.layer(layer).unwrap().banks().iter().map(|bank| bank.positions().to_vec()).collect();
    (0..cache.lengths().len()).map(banks).collect()
}

#[track_caller]
pub(crate) fn assert_near(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{what}: [{i}] is {got}, not {want}");
    }
}
