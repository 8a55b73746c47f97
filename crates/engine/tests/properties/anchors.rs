//! Anchors: whatever the chunks, the logits are those of one pass with the mask written out.

use proptest::prelude::*;
use serde_json::{Value, json};
use skimlm_core::{Role, Rows};

use crate::dense::Dense;
use crate::given::*;
use crate::models::Changed;

/// A policy whose anchors are about a fifth of the vocabulary.
fn policy(given: &Given, options: Value) -> Value {
    let ids: Vec<u32> = (0..given.sizes.vocab as u32).step_by(5).collect();
    let mut policy = json!({ "kind": "anllm", "anchors": ids, "question": false });
    policy.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    policy
}

fn is_anchor(token: u32) -> bool {
    token.is_multiple_of(5)
}

/// The mask, from what each row is: an anchor (1), pinned (2) or neither.
fn sees(kinds: &[u32], row: usize, entry: usize) -> bool {
    let same_segment = kinds[entry..row].iter().all(|&kind| kind != 1);
    same_segment || (kinds[entry] != 0 && kinds[row] != 1)
}

/// Logits of every row of a masked pass over the tokens before and including it.
fn masked(given: &Given, model: &dyn skimlm_core::Model, kinds: &[u32], windows: &[Option<u32>]) -> Vec<Vec<f32>> {
    let positions: Vec<u32> = (0..given.n() as u32).collect();
    let rule = |layer: usize, _: usize, row: u32, entry: u32| {
        let near = windows.get(layer).copied().flatten().is_none_or(|w| row - entry < w);
        near && sees(kinds, row as usize, entry as usize)
    };
    (1..=given.n()).map(|n| Dense::new(model).read(&given.tokens[..n], &positions[..n], &rule, &|_| None)).collect()
}

fn kinds(given: &Given) -> Vec<u32> {
    given.tokens.iter().map(|&token| u32::from(is_anchor(token))).collect()
}

fn part(given: &Given, range: std::ops::Range<usize>) -> Rows {
    rows(&given.tokens[range.clone()], &given.roles[range])
}

/// Anchors so far and the open segment.
fn expected_length(given: &Given, read: usize) -> usize {
    let open = given.tokens[..read].iter().rev().take_while(|&&token| !is_anchor(token)).count();
    given.tokens[..read].iter().filter(|&&token| is_anchor(token)).count() + open
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn every_chunking_equals_the_masked_pass(given in given(1..=24)) {
        let model = given.model();
        let want = masked(&given, &model, &kinds(&given), &[]);
        let policy = policy(&given, json!({}));
        for size in 1..=given.n() {
            let mut session = session(&model, &policy);
            let mut read_so_far = 0;
            while read_so_far < given.n() {
                let end = (read_so_far + size).min(given.n());
                let logits = read(&mut session, part(&given, read_so_far..end), given.chunk);
                assert_near(&logits, &want[end - 1], 1e-4, &format!("chunks of {size}, row {}", end - 1));
                let length = expected_length(&given, end);
                assert!(session.cache().lengths().iter().all(|&n| n == length), "after {end}: {:?}", session.cache().lengths());
                assert_eq!(session.next_position() as usize, end);
                read_so_far = end;
            }
        }
    }

    #[test]
    fn generated_tokens_are_masked_alike(given in given(2..=24), prompt in 1..24usize) {
        let model = given.model();
        let want = masked(&given, &model, &kinds(&given), &[]);
        let prompt = prompt.min(given.n());
        let mut session = session(&model, &policy(&given, json!({})));
        let mut got = vec![read(&mut session, part(&given, 0..prompt), given.chunk)];
        for at in prompt..given.n() {
            got.push(step(&mut session, given.tokens[at]));
            assert_eq!(session.cache().lengths()[0], expected_length(&given, at + 1));
        }
        for (at, got) in (prompt - 1..).zip(&got) {
            assert_near(got, &want[at], 1e-4, &format!("row {at} behind a prompt of {prompt}"));
        }
    }

    #[test]
    fn what_is_pinned_stays_visible_and_ends_nothing(given in given(1..=24), sinks in 0..3usize, split in 1..25usize) {
        let model = given.model();
        let kinds: Vec<u32> = kinds(&given)
            .into_iter()
            .enumerate()
            .map(|(i, kind)| if i < sinks || given.roles[i] == Role::Question { 2 } else { kind })
            .collect();
        let want = masked(&given, &model, &kinds, &[]);
        let mut session = session(&model, &policy(&given, json!({ "question": true, "sinks": sinks })));
        // The first tokens of every part would be sinks, so a second part comes token by token.
        let split = split.clamp(sinks.clamp(1, given.n()), given.n());
        let logits = read(&mut session, part(&given, 0..split), given.chunk);
        assert_near(&logits, &want[split - 1], 1e-4, "prompt");
        let open = kinds[..split].iter().rposition(|&kind| kind == 1).map_or(0, |last| last + 1);
        let kept: Vec<u32> = (0..split as u32).filter(|&i| i as usize >= open || kinds[i as usize] != 0).collect();
        assert_eq!(entries(&session)[0][0], kept);
        assert_eq!(session.report().unwrap().indices, kept);
    }

    #[test]
    fn windows_of_layers_hold_besides(given in given(1..=24), windows in proptest::collection::vec(proptest::option::of(1..12u32), 5)) {
        let model = Changed::windowed(given.model(), &windows);
        let want = masked(&given, &model, &kinds(&given), &windows);
        let mut session = session(&model, &policy(&given, json!({})));
        let half = given.n().div_ceil(2);
        assert_near(&read(&mut session, part(&given, 0..half), given.chunk), &want[half - 1], 1e-4, "first half");
        if half < given.n() {
            let logits = read(&mut session, part(&given, half..given.n()), given.chunk);
            assert_near(&logits, &want[given.n() - 1], 1e-4, "second half");
        }
    }

    #[test]
    fn without_an_anchor_it_is_full_attention(mut given in given(1..=40)) {
        for token in &mut given.tokens {
            *token += u32::from(is_anchor(*token)) % given.sizes.vocab as u32;
        }
        given.tokens.iter_mut().for_each(|token| *token = (*token).min(given.sizes.vocab as u32 - 1));
        prop_assume!(!given.tokens.iter().any(|&token| is_anchor(token)));
        let model = given.model();
        let run = |policy: &Value| {
            let mut session = session(&model, policy);
            [read(&mut session, given.rows(), given.chunk), step(&mut session, 1)]
        };
        assert_eq!(run(&policy(&given, json!({}))), run(&json!({ "kind": "full" })), "bit for bit");
    }

    #[test]
    fn a_second_prompt_knows_nothing_of_the_first(given in given(2..=24)) {
        let model = given.model();
        let policy = policy(&given, json!({}));
        let run = || {
            let mut session = session(&model, &policy);
            (read(&mut session, given.rows(), given.chunk), entries(&session), session.report())
        };
        assert_eq!(run(), run());
    }
}
