//! Different ways to the same logits.

use proptest::prelude::*;
use serde_json::{Value, json};
use skimlm_core::Model;

use crate::dense::Dense;
use crate::given::*;
use crate::models::Changed;

/// Every kind with room for everything.
fn widest(n: usize) -> Vec<Value> {
    let all = n + 8;
    vec![
        json!({ "kind": "gemfilter", "budget": n }),
        json!({ "kind": "promptdistill", "stages": [{ "layer": 0, "budget": n }] }),
        json!({ "kind": "snapkv", "budget": all, "window": 3 }),
        json!({ "kind": "pyramidkv", "budget": all, "window": 3 }),
        json!({ "kind": "adakv", "budget": all, "window": 3 }),
        json!({ "kind": "h2o", "heavy": all, "recent": 2, "headMode": "query" }),
        json!({ "kind": "h2o", "heavy": all, "recent": 2, "positions": "fresh" }),
        json!({ "kind": "tova", "budget": all }),
        json!({ "kind": "knorm", "budget": all }),
        json!({ "kind": "keydiff", "budget": all }),
        json!({ "kind": "sinkwindow", "sink": 2, "recent": all }),
        json!({ "kind": "anllm", "anchors": [0], "sinks": all }),
        json!({ "kind": "random", "budget": n }),
        json!({ "kind": "firstlast", "budget": n }),
    ]
}

fn every_kind_by_default() -> Vec<Value> {
    skimlm_policies::registry::kinds().into_iter().map(|kind| json!({ "kind": kind })).collect()
}

#[test]
fn every_kind_has_its_widest() {
    let mut named: Vec<_> = widest(1).iter().map(|policy| policy["kind"].as_str().unwrap().to_owned()).collect();
    named.dedup();
    let mut kinds = skimlm_policies::registry::kinds();
    kinds.retain(|kind| !["auto", "full"].contains(kind));
    assert_eq!(named, kinds);
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn p01_the_widest_budget_equals_full(given in given(1..=40)) {
        let model = given.model();
        let mut full = session(&model, &json!({ "kind": "full" }));
        let mut want = vec![read(&mut full, given.rows(), given.chunk)];
        want.extend((0..3).map(|t| step(&mut full, t)));
        for policy in widest(given.n()) {
            let mut session = session(&model, &policy);
            let mut got = vec![read(&mut session, given.rows(), given.chunk)];
            got.extend((0..3).map(|t| step(&mut session, t)));
            assert_eq!(got, want, "{policy}: bit for bit");
            assert_eq!(entries(&session), entries(&full), "{policy}");
        }
    }

    #[test]
    fn full_equals_a_plain_forward_pass(given in given(1..=40)) {
        let model = given.model();
        let mut session = session(&model, &json!({ "kind": "full" }));
        let got = read(&mut session, given.rows(), given.chunk);
        assert_near(&got, &Dense::new(&model).whole(&given.tokens), 2e-5, "full");
    }

    #[test]
    fn p03_gemfilter_equals_the_plain_model_on_the_kept_tokens((given, policy) in given_with(2..=40, gemfilter)) {
        let model = given.model();
        let mut session = session(&model, &policy);
        let mut got = vec![read(&mut session, given.rows(), given.chunk)];
        got.extend((0..2).map(|t| step(&mut session, t)));
        let kept = session.report().unwrap().indices;
        let mut tokens: Vec<u32> = kept.iter().map(|&i| given.tokens[i as usize]).collect();
        let mut positions: Vec<u32> = match policy["positions"].as_str() {
            Some("original") => kept,
            _ => (0..kept.len() as u32).collect(),
        };
        for (i, got) in got.iter().enumerate() {
            let want = Dense::new(&model).read(&tokens, &positions, &|_, _, _, _| true, &|_| None);
            assert_near(got, &want, 2e-5, &policy.to_string());
            tokens.push(i as u32);
            positions.push(positions.last().unwrap() + 1);
        }
    }

    #[test]
    fn p04_promptdistill_equals_whole_layers_with_rows_dropped_afterwards((given, policy) in given_with(2..=40, promptdistill)) {
        let model = given.model();
        let policy = { let mut p = policy; p["truncateStages"] = 0.into(); p };
        let mut session = session(&model, &policy);
        let got = read(&mut session, given.rows(), given.chunk);
        // Never truncated, the layer above a stage holds exactly what the stage has let through.
        let held = entries(&session);
        let above = |layer: usize| held.get(layer + 1).map(|banks| banks[0].clone());
        let positions: Vec<u32> = (0..given.n() as u32).collect();
        let want = Dense::new(&model).read(&given.tokens, &positions, &|_, _, _, _| true, &above);
        assert_near(&got, &want, 2e-5, &policy.to_string());
    }

    #[test]
    fn with_fresh_positions_a_layer_knows_nothing_of_the_gaps((given, policy) in given_with(2..=40, promptdistill)) {
        let model = given.model();
        let policy = { let mut p = fresh(policy); p["truncateStages"] = 0.into(); p };
        let mut session = session(&model, &policy);
        let got = read(&mut session, given.rows(), given.chunk);
        let n = given.n() as u32;
        let kept = |layer: usize, held: &Option<Vec<skimlm_core::LayerHeads>>| match held {
            Some(layers) => layers[layer].heads[0].clone(),
            None => (0..n).collect(),
        };
        let held = session.report().unwrap().heads;
        for (layer, banks) in entries(&session).iter().enumerate() {
            let count = kept(layer, &held).len() as u32;
            assert_eq!(banks[0], (n - count..n).collect::<Vec<_>>(), "{policy}: layer {layer}");
        }
        let mut dense = Dense::new(&model);
        dense.by_place = true;
        let above = |layer: usize| (layer + 1 < given.sizes.layers).then(|| kept(layer + 1, &held));
        let want = dense.read(&given.tokens, &(0..n).collect::<Vec<_>>(), &|_, _, _, _| true, &above);
        assert_near(&got, &want, 2e-5, &policy.to_string());
        for token in 0..3 {
            assert_eq!(session.next_position(), n + token);
            let want = dense.read(&[token], &[n + token], &|_, _, _, _| true, &|_| None);
            assert_near(&step(&mut session, token), &want, 2e-5, &format!("{policy}, token {token}"));
        }
    }

    #[test]
    fn p05_truncation_changes_no_logits_of_the_prompt((given, policy) in given_with(2..=40, promptdistill)) {
        let model = given.model();
        let logits = (-1..4).map(|truncate| {
            let mut policy = policy.clone();
            policy["truncateStages"] = truncate.into();
            read(&mut session(&model, &policy), given.rows(), given.chunk)
        });
        let logits: Vec<_> = logits.collect();
        for other in &logits[1..] {
            assert_eq!(other, &logits[0], "{policy}");
        }
    }

    #[test]
    fn p07_decoding_equals_dense_attention_without_the_dropped_entries((given, policy) in given_with(1..=32, evicting)) {
        let model = given.model();
        let mut session = session(&model, &policy);
        let mut dense = Dense::new(&model);
        assert_near(&read(&mut session, given.rows(), given.chunk), &dense.whole(&given.tokens), 2e-5, &policy.to_string());
        for t in 0..4 {
            // What was dropped never comes back, so only the token itself is new.
            let (held, now) = (entries(&session), session.next_position());
            let sees = |layer: usize, head: usize, row: u32, entry: u32| {
                let banks = &held[layer];
                entry == row || banks[head * banks.len() / model.shape().heads].contains(&entry)
            };
            let token = t % given.sizes.vocab as u32;
            let want = dense.read(&[token], &[now], &sees, &|_| None);
            assert_near(&step(&mut session, token), &want, 2e-5, &format!("{policy}, token {t}"));
        }
    }

    #[test]
    fn p12_chunks_change_nothing((given, policy) in given_with(1..=40, every)) {
        let given = given.without_repeats();
        let model = given.model();
        let run = |chunk| {
            let mut session = session(&model, &policy);
            let logits = read(&mut session, given.rows(), chunk);
            (logits, session.report().map(|r| (r.indices, r.heads)), entries(&session), step(&mut session, 0))
        };
        let (logits, kept, held, next) = run(given.n());
        for chunk in [1, 2, 3, 7, given.chunk, given.n() + 1] {
            let what = format!("{policy} in chunks of {chunk}");
            let (chunked, kept_by_chunks, held_by_chunks, next_by_chunks) = run(chunk);
            assert_eq!(kept_by_chunks, kept, "{what}");
            assert_eq!(held_by_chunks, held, "{what}");
            assert_near(&chunked, &logits, 1e-5, &what);
            assert_near(&next_by_chunks, &next, 1e-5, &what);
        }
    }

    #[test]
    fn p14_a_prompt_of_one_token_works((given, policy) in given_with(1..=1, every)) {
        let model = given.model();
        let want = Dense::new(&model).whole(&given.tokens);
        for policy in every_kind_by_default().iter().chain([&policy]) {
            let mut session = session(&model, policy);
            assert_near(&read(&mut session, given.rows(), 1), &want, 2e-5, &policy.to_string());
            assert!(step(&mut session, 0).iter().all(|x| x.is_finite()), "{policy}");
            assert_eq!(session.next_position(), 2, "{policy}");
        }
    }

    #[test]
    fn windows_of_layers_hide_what_is_older(given in given(1..=40), windows in proptest::collection::vec(proptest::option::of(1..12u32), 5)) {
        let model = Changed::windowed(given.model(), &windows);
        let sees = |layer: usize, _: usize, row: u32, entry: u32| windows[layer].is_none_or(|w| row - entry < w);
        let mut session = session(&model, &json!({ "kind": "full" }));
        let mut dense = Dense::new(&model);
        let positions: Vec<u32> = (0..given.n() as u32).collect();
        let want = dense.read(&given.tokens, &positions, &sees, &|_| None);
        assert_near(&read(&mut session, given.rows(), given.chunk), &want, 2e-5, "prompt");
        for _ in 0..3 {
            let want = dense.read(&[1], &[session.next_position()], &sees, &|_| None);
            assert_near(&step(&mut session, 1), &want, 2e-5, "token");
        }
    }
}
