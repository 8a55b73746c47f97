//! What the cache holds: lengths, positions, copies.

use candle_core::{DType, Device};
use proptest::prelude::*;
use serde_json::json;
use skimlm_core::{KvCache, Model, Pass, Role, Rows, Stage};
use skimlm_engine::{Session, walk};
use skimlm_policies::{Context, PolicySpec};

use crate::dense::Dense;
use crate::given::*;

/// The prompt tokens that each stage lets through, the whole prompt first.
fn by_stage(stages: &[usize], held: &[Vec<Vec<u32>>]) -> Vec<Vec<u32>> {
    std::iter::once(0).chain(stages.iter().map(|layer| layer + 1)).map(|layer| held[layer][0].clone()).collect()
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn p06_promptdistill_leaves_each_group_the_tokens_of_one_stage((given, policy) in given_with(2..=40, promptdistill)) {
        let model = given.model();
        let stages: Vec<usize> = policy["stages"].as_array().unwrap().iter().map(|s| s["layer"].as_u64().unwrap() as usize).collect();
        let held = |truncate: i64| {
            let mut policy = policy.clone();
            policy["truncateStages"] = truncate.into();
            let mut session = session(&model, &policy);
            read(&mut session, given.rows(), given.chunk);
            entries(&session)
        };
        let kept = by_stage(&stages, &held(0));
        assert_eq!(kept[0].len(), given.n());
        for truncate in -1..=stages.len() as i64 + 1 {
            let done = if truncate < 0 { stages.len() } else { stages.len().min(truncate as usize) };
            for (layer, banks) in held(truncate).iter().enumerate() {
                let group = stages.iter().filter(|&&stage| stage < layer).count();
                assert_eq!(banks.len(), 1);
                assert_eq!(&banks[0], &kept[group.max(done)], "{policy}: layer {layer} with truncateStages {truncate}");
            }
        }
    }

    #[test]
    fn p06_promptdistill_keeps_the_budget_and_the_tail(given in given(2..=40), budgets in (1..42usize, 1..42usize), query in 0..40usize) {
        let (n, layers) = (given.n(), given.sizes.layers);
        let query = query.min(n - 1);
        let stages: Vec<_> = [(0, budgets.0), (1, budgets.1)].into_iter().filter(|(layer, _)| layer + 1 < layers).collect();
        let pins = json!({ "sinks": 0, "template": false, "system": false, "question": false, "last": 0 });
        let listed: Vec<_> = stages.iter().map(|(layer, budget)| json!({ "layer": layer, "budget": budget })).collect();
        let model = given.model();
        let mut session = session(&model, &json!({ "kind": "promptdistill", "stages": listed, "pins": pins, "queryToken": query }));
        read(&mut session, given.rows(), given.chunk);
        let lengths = session.cache().lengths();
        let (mut left, mut before) = (n, query);
        for (layer, budget) in stages {
            before = before.min(budget);
            left = before + (n - query);
            assert_eq!(lengths[layer + 1], left);
        }
        assert_eq!(*lengths.last().unwrap(), left);
    }

    #[test]
    fn p06_lengths_follow_the_table((given, policy) in given_with(1..=32, |given| prop_oneof![evicting(given), streaming(given)])) {
        let (n, number) = (given.n(), |name: &str| policy[name].as_u64().unwrap() as usize);
        let (cap, every_step) = match policy["kind"].as_str().unwrap() {
            "snapkv" | "knorm" | "keydiff" => (number("budget"), false),
            "tova" => (number("budget"), true),
            "h2o" => (number("heavy") + number("recent"), policy["decodeEvict"] == true),
            "sinkwindow" => (number("sink") + number("recent"), true),
            _ => return Ok(()),
        };
        let model = given.model();
        let mut session = session(&model, &policy);
        read(&mut session, given.rows(), given.chunk);
        for t in 0..4 {
            let want = if every_step { cap.min(n + t) } else { cap.min(n) + t };
            for banks in entries(&session) {
                assert!(banks.iter().all(|bank| bank.len() == want), "{policy}: {banks:?}, not {want}");
            }
            step(&mut session, 0);
        }
    }

    #[test]
    fn sinks_and_the_window_are_what_is_left(given in given(1..=32), sink in 0..4usize, recent in 1..12usize) {
        let model = given.model();
        let mut session = session(&model, &json!({ "kind": "sinkwindow", "sink": sink, "recent": recent }));
        read(&mut session, given.rows(), given.chunk);
        for t in 0..5 {
            let n = given.n() + t;
            let want: Vec<u32> = (0..n).filter(|&i| i < sink || i + recent >= n).map(|i| i as u32).collect();
            assert!(entries(&session).iter().all(|banks| banks == std::slice::from_ref(&want)));
            step(&mut session, 0);
        }
    }

    #[test]
    fn heads_share_what_their_layer_may_keep(given in given(1..=40), window in 1..6usize, extra in 1..20usize, floor in 0.0..=1.0f64) {
        let model = given.model();
        let mut session = session(&model, &json!({ "kind": "adakv", "window": window, "budget": window + extra, "floor": floor }));
        read(&mut session, given.rows(), given.chunk);
        let (heads, guarded) = (given.sizes.kv_heads, window.min(given.n()));
        let candidates = given.n() - guarded;
        for banks in entries(&session) {
            // Where nothing has to go the heads still share one bank.
            let lengths: Vec<usize> = (0..heads).map(|h| banks[h * banks.len() / heads].len()).collect();
            let certain = (extra as f64 * floor) as usize;
            assert!(lengths.iter().all(|&l| l >= guarded + certain.min(candidates)), "{lengths:?}");
            assert_eq!(lengths.iter().sum::<usize>(), heads * (guarded + extra.min(candidates)), "{lengths:?}");
        }
    }

    #[test]
    fn a_pyramid_has_the_average_and_no_layer_more_than_the_one_below(given in given(40..=40), window in 1..4usize, extra in 1..16usize, slope in 1..9usize) {
        let model = given.model();
        let mut session = session(&model, &json!({ "kind": "pyramidkv", "window": window, "budget": window + extra, "slope": slope }));
        read(&mut session, given.rows(), given.chunk);
        let average = |session: &Session<'_>| {
            let lengths = session.cache().lengths();
            assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
            let (sum, want) = (lengths.iter().sum::<usize>(), lengths.len() * (window + extra));
            assert!(sum.abs_diff(want) <= lengths.len(), "{lengths:?} for an average of {}", window + extra);
        };
        average(&session);
        // A second prompt, of which each layer sees what it has kept and the new tokens.
        read(&mut session, given.rows(), given.chunk);
        average(&session);
    }

    #[test]
    fn p10_the_next_position_counts_on((given, policy) in given_with(1..=40, every)) {
        let model = given.model();
        let mut session = session(&model, &policy);
        read(&mut session, given.rows(), given.chunk);
        for t in 0..4 {
            let n = match policy["kind"].as_str().unwrap() {
                "gemfilter" if policy["positions"] == "original" => *session.report().unwrap().indices.last().unwrap() as usize + 1 + t,
                "gemfilter" | "random" | "firstlast" => session.report().unwrap().indices.len() + t,
                "h2o" if policy["positions"] == "fresh" => session.cache().lengths()[0],
                _ => given.n() + t,
            };
            assert_eq!(session.next_position() as usize, n, "{policy}");
            step(&mut session, 0);
        }
    }

    #[test]
    fn streaming_keys_are_as_if_rotated_at_their_slots((given, policy) in given_with(1..=40, streaming)) {
        let model = given.model();
        let mut session = session(&model, &policy);
        read(&mut session, given.rows(), given.chunk);
        let mut dense = Dense::new(&model);
        dense.whole(&given.tokens);
        for layer in session.report().unwrap().heads.unwrap() {
            let banks = session.cache().layer(layer.layer).unwrap().banks();
            let (kv_heads, dim) = (given.sizes.kv_heads, given.sizes.head_dim);
            for (i, kept) in layer.heads.iter().enumerate() {
                let kv = i * kv_heads / layer.heads.len();
                let bank = &banks[i * banks.len() / layer.heads.len()];
                assert_eq!(bank.positions(), (0..kept.len() as u32).collect::<Vec<_>>());
                let keys = bank.keys().k.get(if bank.heads() == 1 { 0 } else { kv }).unwrap().to_vec2::<f32>().unwrap();
                for (slot, &token) in kept.iter().enumerate() {
                    let turned = dense.rotated(&dense.layers[layer.layer][token as usize].raw, slot as u32);
                    let want: Vec<f32> = turned[kv * dim..][..dim].iter().map(|&x| x as f32).collect();
                    assert_near(&keys[slot], &want, 1e-4, &format!("{policy}: layer {}, head {i}, slot {slot}", layer.layer));
                }
            }
        }
    }

    #[test]
    fn a_fork_is_independent((given, policy) in given_with(1..=32, |given| prop_oneof![evicting(given), promptdistill(given)])) {
        let model = given.model();
        let context = Context::new(model.shape(), 0);
        let mut policy = PolicySpec::parse(&policy).unwrap().build(&context).unwrap();
        let mut cache = KvCache::new(model.shape(), DType::F32, &Device::Cpu, 0).unwrap();
        let layers = 0..given.sizes.layers;
        let begun = policy.begin(Pass { stage: Stage::Prefill, rows: given.rows(), layers: layers.clone() }, model.shape()).unwrap();
        in_chunks(given.chunk, |control| walk(&model, &mut cache, DType::F32, &mut *policy, begun, control)).unwrap();
        // No policy here: what the copies hold is the question.
        let decode = |cache: &mut KvCache, token: u32, position: usize| {
            let rows = Rows::consecutive(vec![token], position as u32, Role::Document);
            let pass = Pass { stage: Stage::Decode, rows, layers: layers.clone() };
            let walked = in_chunks(1, |control| walk(&model, cache, DType::F32, &mut NoPolicy, pass, control)).unwrap();
            walked.hidden.unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (n, lengths, bytes) = (given.n(), cache.lengths(), cache.bytes());
        let mut alone = cache.fork().unwrap();
        let want = [decode(&mut alone, 1, n), decode(&mut alone, 2, n + 1)];
        let (mut one, mut two) = (cache.fork().unwrap(), cache.fork().unwrap());
        let first = decode(&mut one, 1, n);
        decode(&mut two, 3, n);
        assert_eq!([first, decode(&mut one, 2, n + 1)], want);
        assert_eq!((cache.lengths(), cache.bytes()), (lengths.clone(), bytes));
        assert_eq!(decode(&mut cache, 1, n), want[0]);
        assert!(one.lengths().iter().zip(&lengths).all(|(after, before)| *after == before + 2));
    }
}

struct NoPolicy;

impl skimlm_core::Policy for NoPolicy {}
