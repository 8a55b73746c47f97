//! What is kept, and by which scores.

use proptest::prelude::*;
use serde_json::{Value, json};
use skimlm_core::{Report, Role};

use crate::dense::{Dense, softmax};
use crate::given::*;
use crate::models::Changed;

fn ascends(indices: &[u32]) -> bool {
    indices.windows(2).all(|pair| pair[0] < pair[1])
}

fn is_pinned(pins: &Value, role: Role, i: usize, n: usize) -> bool {
    let by_role = |name: &str| pins[name].as_bool().unwrap();
    let number = |name: &str| pins[name].as_u64().unwrap() as usize;
    let role = match role {
        Role::Document => false,
        Role::Pinned => true,
        Role::Question => by_role("question"),
        Role::System => by_role("system"),
        Role::Template => by_role("template"),
    };
    role || i < number("sinks") || i + number("last") >= n
}

fn check_lists(report: &Report, policy: &Value, n: usize) {
    let number = |name: &str| policy[name].as_u64().map(|x| x as usize);
    let recent = number("recent").or(number("window")).unwrap_or(1);
    let guarded: Vec<u32> =
        (0..n).filter(|&i| i < number("sink").unwrap_or(0) || i + recent >= n).map(|i| i as u32).collect();
    for layer in report.heads.as_ref().unwrap() {
        for list in &layer.heads {
            assert!(ascends(list) && list.iter().all(|&i| (i as usize) < n), "{policy}: {list:?}");
            assert!(guarded.iter().all(|i| list.contains(i)), "{policy}: {list:?} without some of {guarded:?}");
        }
    }
    let anywhere = |i: &u32| report.heads.iter().flatten().flat_map(|layer| &layer.heads).any(|list| list.contains(i));
    let all: Vec<u32> = (0..n as u32).filter(anywhere).collect();
    assert_eq!(report.indices, all, "{policy}");
}

/// What the asking rows together give every token, by one head.
fn scores_of(dense: &Dense<'_>, given: &Given, score: &Value, layer: usize, head: usize) -> Vec<f64> {
    let (entries, n) = (&dense.layers[layer], given.n());
    let is_question = |role: &Role| *role == Role::Question;
    let asking = match (&score["queries"], given.roles.iter().position(is_question)) {
        (Value::String(whose), _) if whose == "last" => n - 1..n,
        (Value::String(_), Some(first)) => first..given.roles.iter().rposition(is_question).unwrap() + 1,
        (Value::String(_), None) => n.saturating_sub(16)..n,
        (window, _) => n.saturating_sub(window["window"].as_u64().unwrap() as usize)..n,
    };
    let mut sums = vec![0.0; n];
    for row in asking {
        let dots = |seen: usize| entries[..seen].iter().map(|e| dense.dot(head, &entries[row], e)).collect::<Vec<_>>();
        let gives = if score["softmax"] == true {
            softmax(&dots(row + 1))
        } else {
            let scale = 1.0 / (given.sizes.head_dim as f64).sqrt();
            dots(n).iter().map(|s| s / scale).collect()
        };
        sums.iter_mut().zip(gives).for_each(|(sum, s)| *sum += s);
    }
    sums
}

/// Scores as multiples of the mean of the `width` around them that are open.
fn contrasted(scores: &[f64], open: &[bool], width: usize) -> Vec<f64> {
    let of = |i: usize| {
        let around = i.saturating_sub(width / 2)..(i + width / 2 + 1).min(scores.len());
        let seen: Vec<f64> = around.filter(|&j| open[j]).map(|j| scores[j]).collect();
        let mean = seen.iter().sum::<f64>() / seen.len() as f64;
        if mean > 0.0 { (scores[i] / mean).min(width as f64) } else { 0.0 }
    };
    (0..scores.len()).map(of).collect()
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn p02_kept_tokens_ascend_and_contain_the_pins((given, policy) in given_with(1..=40, every)) {
        let model = given.model();
        let mut session = session(&model, &policy);
        read(&mut session, given.rows(), given.chunk);
        let Some(report) = session.report() else {
            assert_eq!(policy["kind"], "full");
            return Ok(());
        };
        let n = given.n();
        assert!(ascends(&report.indices) && report.indices.iter().all(|&i| (i as usize) < n), "{policy}: {report:?}");
        assert_eq!(report.indices.len(), report.scores.len(), "{policy}");
        if policy["kind"] == "promptdistill" {
            for layer in report.heads.iter().flatten() {
                assert_eq!(layer.heads, [session.cache().layer(layer.layer).unwrap().banks()[0].positions().to_vec()], "{policy}");
            }
        } else if report.heads.is_some() {
            check_lists(&report, &policy, n);
            return Ok(());
        }
        if policy["kind"] == "anllm" {
            // Anchors are not counted beforehand, and the pins are options of their own.
            assert_eq!(report.indices.len(), report.budget, "{policy}");
            return Ok(());
        }
        let pinned: Vec<u32> = (0..n).filter(|&i| is_pinned(&policy["pins"], given.roles[i], i, n)).map(|i| i as u32).collect();
        assert!(pinned.iter().all(|i| report.indices.contains(i)), "{policy}: {:?} without some of {pinned:?}", report.indices);
        if policy["kind"] == "promptdistill" {
            let query = policy["queryToken"].as_u64().unwrap_or(n as u64 - 1) as u32;
            assert!((query..n as u32).all(|i| report.indices.contains(&i)), "{policy}: {:?}", report.indices);
        } else {
            // Pins are not charged here; whole runs may leave some of the budget over.
            let most = n.min(pinned.len() + report.budget);
            let full = policy["kind"] != "gemfilter" || policy["score"]["round"] == "token" || report.budget >= n;
            assert!(report.indices.len() <= most && (!full || report.indices.len() == most.max(if report.budget >= n { n } else { 0 })),
                "{policy}: {} of at most {most}", report.indices.len());
        }
    }

    #[test]
    fn p04_gemfilter_scores_equal_those_of_a_whole_layer((given, policy) in given_with(2..=40, gemfilter)) {
        let width = if policy["score"]["softmax"] == true { [0, 5, 257][given.n() % 3] } else { 0 };
        let policy = { let mut p = policy; p["budget"] = 1.into(); p["score"]["pool"] = Value::Null; p["score"]["contrast"] = width.into(); p };
        let model = given.model();
        let mut session = session(&model, &policy);
        read(&mut session, given.rows(), given.chunk);
        let report = session.report().unwrap();
        let mut dense = Dense::new(&model);
        dense.whole(&given.tokens);
        let heads = given.sizes.heads;
        let by_head: Vec<_> = (0..heads).map(|head| scores_of(&dense, &given, &policy["score"], report.layer, head)).collect();
        let combine = |t: usize| {
            let scores = by_head.iter().map(|row| row[t]);
            match policy["score"]["heads"].as_str() {
                Some("sum") => scores.sum::<f64>(),
                Some("mean") => scores.sum::<f64>() / heads as f64,
                _ => scores.fold(f64::NEG_INFINITY, f64::max),
            }
        };
        let n = given.n();
        let plain: Vec<f64> = (0..n).map(combine).collect();
        let open: Vec<bool> = (0..n).map(|i| !is_pinned(&policy["pins"], given.roles[i], i, n)).collect();
        let want = if width == 0 { plain } else { contrasted(&plain, &open, width) };
        let want: Vec<f32> = want.iter().map(|&score| score as f32).collect();
        assert_near(&report.all_scores.unwrap(), &want, 1e-4, &policy.to_string());
    }

    #[test]
    fn listed_heads_of_several_layers_add_up((given, policy) in given_with(2..=40, gemfilter), list in proptest::collection::vec((0..5usize, 0..9usize, -2.0..2.0f32), 1..6)) {
        let (layers, heads) = (given.sizes.layers, given.sizes.heads);
        let list: Vec<_> = list.iter().map(|&(layer, head, weight)| (layer % (layers - 1), head % heads, weight)).collect();
        let last = list.iter().map(|(layer, ..)| *layer).max().unwrap();
        let mut policy = policy;
        policy["budget"] = 1.into();
        policy["layer"] = Value::Null;
        policy["score"]["pool"] = Value::Null;
        policy["score"]["contrast"] = 0.into();
        policy["score"]["heads"] = list.iter().map(|(l, h, w)| json!({ "layer": l, "head": h, "weight": w })).collect();
        let model = given.model();
        let mut session = session(&model, &policy);
        read(&mut session, given.rows(), given.chunk);
        let report = session.report().unwrap();
        assert_eq!(report.layer, last);
        let mut dense = Dense::new(&model);
        dense.whole(&given.tokens);
        let mut want = vec![0.0; given.n()];
        for (layer, head, weight) in list {
            let scores = scores_of(&dense, &given, &policy["score"], layer, head);
            want.iter_mut().zip(scores).for_each(|(sum, s)| *sum += f64::from(weight) * s);
        }
        let want: Vec<f32> = want.iter().map(|&s| s as f32).collect();
        assert_near(&report.all_scores.unwrap(), &want, 1e-4, &policy.to_string());
    }

    #[test]
    fn h2o_evicts_what_all_queries_together_gave_least(given in given(1..=24), heavy in 1..16usize, recent in 1..5usize) {
        let given = given.without_repeats();
        let model = given.model();
        let policy = json!({ "kind": "h2o", "heavy": heavy, "recent": recent, "headMode": "query" });
        let mut session = session(&model, &policy);
        let mut dense = Dense::new(&model);
        read(&mut session, given.rows(), given.chunk);
        dense.whole(&given.tokens);
        let (layers, heads) = (given.sizes.layers, given.sizes.heads);
        // By layer and head: position and sum of every entry that is left.
        let mut left = vec![vec![Vec::<(u32, f64)>::new(); heads]; layers];
        let mut new = 0..given.n();
        for t in 0..5 {
            for (layer, left) in left.iter_mut().enumerate() {
                for (head, left) in left.iter_mut().enumerate() {
                    for row in new.clone() {
                        left.push((row as u32, 0.0));
                        let entries = &dense.layers[layer];
                        let dots: Vec<f64> = left.iter().map(|(p, _)| dense.dot(head, &entries[row], &entries[*p as usize])).collect();
                        left.iter_mut().zip(softmax(&dots)).for_each(|((_, sum), weight)| *sum += weight);
                    }
                    while left.len() > heavy + recent {
                        let least = (0..left.len() - recent).rev().min_by(|&a, &b| left[a].1.total_cmp(&left[b].1)).unwrap();
                        left.remove(least);
                    }
                }
            }
            let held = entries(&session);
            for (layer, left) in left.iter().enumerate() {
                for (head, left) in left.iter().enumerate() {
                    let want: Vec<u32> = left.iter().map(|(position, _)| *position).collect();
                    let banks = &held[layer];
                    assert_eq!(banks[head * banks.len() / heads], want, "{policy}: layer {layer}, head {head}, token {t}");
                }
            }
            let now = given.n() + t;
            let sees = |layer: usize, head: usize, row: u32, entry: u32| {
                row == entry || left[layer][head].iter().any(|(position, _)| *position == entry)
            };
            dense.read(&[t as u32], &[now as u32], &sees, &|_| None);
            step(&mut session, t as u32);
            new = now..now + 1;
        }
    }

    #[test]
    fn keys_that_are_short_or_unlike_the_others_stay(given in given(2..=40), budget in 2..20usize) {
        let (model, n, dim) = (given.model(), given.n(), given.sizes.head_dim);
        let mut dense = Dense::new(&model);
        dense.whole(&given.tokens);
        for kind in ["knorm", "keydiff"] {
            let mut session = session(&model, &json!({ "kind": kind, "budget": budget }));
            read(&mut session, given.rows(), given.chunk);
            for layer in session.report().unwrap().heads.unwrap() {
                for (head, kept) in layer.heads.iter().enumerate() {
                    assert_eq!(kept.len(), budget.min(n));
                    let keys: Vec<_> = dense.layers[layer.layer].iter().map(|e| &e.k[head * dim..][..dim]).collect();
                    let length = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
                    let mean: Vec<f64> = (0..dim).map(|d| keys.iter().map(|k| k[d] / length(k)).sum::<f64>() / n as f64).collect();
                    let cosine = |k: &[f64]| k.iter().zip(&mean).map(|(a, b)| a * b).sum::<f64>() / length(k) / length(&mean);
                    let low: Vec<f64> = keys.iter().map(|k| if kind == "knorm" { length(k) } else { cosine(k) }).collect();
                    // Where keys cancel in the mean its direction is less certain.
                    let about = 1e-4 * if kind == "knorm" { low[0] } else { 1.0 / length(&mean) };
                    let (stay, go): (Vec<usize>, _) = (0..n - 1).partition(|&i| kept.contains(&(i as u32)));
                    let most = stay.iter().map(|&i| low[i]).fold(-1.0, f64::max);
                    assert!(go.iter().all(|&i| low[i] > most - about), "{kind}: {kept:?} of {low:?}");
                }
            }
        }
    }

    #[test]
    fn p08_equal_scores_keep_the_lowest_indices(given in given(2..=40), k in 1..40usize, softmax in any::<bool>(), pool in prop_oneof![
        Just(Value::Null), Just(json!({ "kind": "avg", "width": 5, "edge": "valid" })), Just(json!({ "kind": "max", "width": 3 })),
    ]) {
        let n = given.n();
        let k = k.min(n - 1);
        // Raw scores are 0 and so are their averages; averages of softmax weights may round one way here, another there.
        let pool = if softmax && pool["kind"] == "avg" { Value::Null } else { pool };
        let model = Changed::flat(given.model());
        let pins = json!({ "sinks": 0, "template": false, "system": false, "question": false, "last": 0 });
        let score = json!({ "queries": "last", "softmax": softmax, "heads": "sum", "pool": pool, "contrast": 0 });
        let run = |policy: Value| {
            let mut session = session(&model, &policy);
            read(&mut session, given.rows(), given.chunk);
            session.report().unwrap()
        };
        let lowest: Vec<u32> = (0..k as u32).collect();
        let tail = |k: usize, tail: usize| (0..k).chain(n - tail..n).map(|i| i as u32).collect::<Vec<_>>();
        let report = run(json!({ "kind": "gemfilter", "layer": 0, "budget": k, "score": score, "pins": pins }));
        assert_eq!(report.indices, lowest);
        let report = run(json!({ "kind": "promptdistill", "stages": [{ "layer": 0, "budget": k, "score": score }], "pins": pins }));
        assert_eq!(report.indices, tail(k, 1));
        for policy in [
            json!({ "kind": "snapkv", "window": 1, "budget": k + 1, "kernel": 1 }),
            json!({ "kind": "snapkv", "window": 1, "budget": k + 1, "headMode": "query", "pool": "max" }),
            json!({ "kind": "tova", "budget": k + 1 }),
            json!({ "kind": "knorm", "budget": k + 1 }),
            json!({ "kind": "keydiff", "budget": k + 1 }),
        ] {
            for layer in run(policy.clone()).heads.unwrap() {
                for list in layer.heads {
                    assert_eq!(list, tail(k, 1), "{policy}");
                }
            }
        }
    }

    #[test]
    fn a_seed_is_a_draw(given in given(24..=40), seed in any::<u32>()) {
        let model = given.model();
        let draw = |seed: u32| {
            let policy = json!({ "kind": "random", "budget": 12, "seed": seed, "pins": { "template": false, "system": false, "question": false } });
            let mut session = session(&model, &policy);
            read(&mut session, given.rows(), given.chunk);
            session.report().unwrap().indices
        };
        assert_eq!(draw(seed), draw(seed));
        assert_ne!(draw(seed), draw(seed ^ 1));
    }

    #[test]
    fn a_selection_can_be_replayed((given, policy) in given_with(2..=40, |given| prop_oneof![gemfilter(given), promptdistill(given)])) {
        let model = given.model();
        // One set of indices says everything about one stage only, and nothing about rows dropped twice.
        let policy = { let mut p = policy; if let Some(stages) = p.get_mut("stages").and_then(Value::as_array_mut) { stages.truncate(1); } p };
        let mut first = session(&model, &policy);
        let want = read(&mut first, given.rows(), given.chunk);
        let kept = first.report().unwrap().indices;
        let mut again = try_session(&model, &policy, Some(&kept)).unwrap();
        assert_near(&read(&mut again, given.rows(), given.chunk), &want, 1e-6, &policy.to_string());
        assert_eq!(again.report().unwrap().indices, kept, "{policy}");
        assert_eq!(entries(&again), entries(&first), "{policy}");
        assert_near(&step(&mut again, 0), &step(&mut first, 0), 1e-6, &policy.to_string());
    }
}
