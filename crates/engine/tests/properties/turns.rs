//! One prompt after another, in one session and in several.

use proptest::prelude::*;
use serde_json::json;
use skimlm_core::{Code, Model};
use skimlm_engine::{Cancel, Control, Store};
use skimlm_policies::Full;

use crate::dense::Dense;
use crate::given::*;
use crate::models::Changed;

/// Both parts of a prompt that is read in two turns.
fn parts(given: &Given, cut: usize) -> (usize, skimlm_core::Rows, skimlm_core::Rows) {
    let cut = 1 + cut % (given.n() - 1);
    let (first, second) = (0..cut, cut..given.n());
    let part = |range: std::ops::Range<usize>| rows(&given.tokens[range.clone()], &given.roles[range]);
    (cut, part(first), part(second))
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn p11_sessions_know_nothing_of_each_other((given, policy) in given_with(2..=32, every), cut in any::<usize>()) {
        let model = given.model();
        let (_, a, b) = parts(&given, cut);
        let alone = |rows: &skimlm_core::Rows| {
            let mut session = session(&model, &policy);
            let logits = read(&mut session, rows.clone(), given.chunk);
            (logits, [step(&mut session, 1), step(&mut session, 2)], session.report().map(|r| r.indices))
        };
        // `queryToken` may lie behind the shorter prompt.
        prop_assume!(policy["queryToken"].as_u64().is_none_or(|q| (q as usize) < a.len().min(b.len())));
        let (mut one, mut two) = (session(&model, &policy), session(&model, &policy));
        let (x, y) = (read(&mut one, a.clone(), given.chunk), read(&mut two, b.clone(), given.chunk));
        let (x1, y1) = (step(&mut one, 1), step(&mut two, 1));
        let (x2, y2) = (step(&mut one, 2), step(&mut two, 2));
        assert_eq!(alone(&a), (x, [x1, x2], one.report().map(|r| r.indices)), "{policy}");
        assert_eq!(alone(&b), (y, [y1, y2], two.report().map(|r| r.indices)), "{policy}");
    }

    #[test]
    fn p13_two_turns_of_full_are_one_longer_prompt(given in given(2..=40), cut in any::<usize>()) {
        let model = given.model();
        let (_, a, b) = parts(&given, cut);
        let full = || session(&model, &json!({ "kind": "full" }));
        let (mut turns, mut once) = (full(), full());
        read(&mut turns, a, given.chunk);
        let got = read(&mut turns, b, given.chunk);
        assert_near(&got, &read(&mut once, given.rows(), given.n()), 1e-5, "the second turn");
        assert_eq!(entries(&turns), entries(&once));
        assert_near(&step(&mut turns, 1), &step(&mut once, 1), 1e-5, "the token after it");
    }

    #[test]
    fn p13_a_turn_sees_what_eviction_has_left((given, policy) in given_with(2..=40, evicting), cut in any::<usize>(), between in 0..3u32) {
        let model = given.model();
        let (cut, a, b) = parts(&given, cut);
        let mut session = session(&model, &policy);
        let mut dense = Dense::new(&model);
        read(&mut session, a, given.chunk);
        dense.whole(&given.tokens[..cut]);
        let see_held = |held: Vec<Vec<Vec<u32>>>, now: u32| {
            let heads = model.shape().heads;
            move |layer: usize, head: usize, _: u32, entry: u32| {
                let banks = &held[layer];
                entry >= now || banks[head * banks.len() / heads].contains(&entry)
            }
        };
        for token in 0..between {
            let sees = see_held(entries(&session), session.next_position());
            let want = dense.read(&[token], &[session.next_position()], &sees, &|_| None);
            assert_near(&step(&mut session, token), &want, 2e-5, &policy.to_string());
        }
        let now = session.next_position();
        assert_eq!(now as usize, cut + between as usize);
        let sees = see_held(entries(&session), now);
        let positions: Vec<u32> = (now..).take(given.n() - cut).collect();
        let want = dense.read(&given.tokens[cut..], &positions, &sees, &|_| None);
        assert_near(&read(&mut session, b, given.chunk), &want, 2e-5, &policy.to_string());
        for layer in session.report().unwrap().heads.unwrap() {
            assert!(layer.heads.iter().flatten().all(|&i| (i as usize) < given.n() - cut), "{policy}");
        }
        let next = session.next_position();
        let sees = see_held(entries(&session), next);
        let want = dense.read(&[3], &[next], &sees, &|_| None);
        assert_near(&step(&mut session, 3), &want, 2e-5, &policy.to_string());
    }

    #[test]
    fn p13_gemfilter_reads_its_choice_behind_the_older_one((given, policy) in given_with(2..=40, gemfilter), cut in any::<usize>()) {
        let model = given.model();
        let (cut, a, b) = parts(&given, cut);
        let mut turns = session(&model, &policy);
        let mut chosen = Vec::new();
        let mut positions = Vec::new();
        let mut logits = Vec::new();
        for (rows, first) in [(a, 0), (b, cut)] {
            let start = turns.next_position();
            logits = read(&mut turns, rows, given.chunk);
            let kept = turns.report().unwrap().indices;
            positions.extend(kept.iter().zip(0..).map(|(i, rank)| start + if policy["positions"] == "original" { *i } else { rank }));
            chosen.extend(kept.iter().map(|&i| given.tokens[first + i as usize]));
        }
        assert!(entries(&turns).iter().all(|banks| banks == &[positions.clone()]), "{policy}");
        let want = Dense::new(&model).read(&chosen, &positions, &|_, _, _, _| true, &|_| None);
        assert_near(&logits, &want, 2e-5, &policy.to_string());
    }

    #[test]
    fn p13_promptdistill_narrows_a_turn_and_leaves_the_older_one((given, policy) in given_with(2..=40, promptdistill), cut in any::<usize>()) {
        let model = given.model();
        let (cut, a, b) = parts(&given, cut);
        let policy = { let mut p = policy; p["queryToken"] = serde_json::Value::Null; p };
        let mut session = session(&model, &policy);
        read(&mut session, a, given.chunk);
        let old = entries(&session);
        let got = read(&mut session, b, given.chunk);
        let new = entries(&session);
        for (old, new) in old.iter().zip(&new) {
            assert!(new[0].starts_with(&old[0]), "{policy}");
            assert_eq!(new[0].iter().filter(|&&p| p < cut as u32).count(), old[0].len(), "{policy}");
        }
        if policy["truncateStages"] != 0 {
            return Ok(());
        }
        let mut dense = Dense::new(&model);
        let positions: Vec<u32> = (0..given.n() as u32).collect();
        let above = |held: &Vec<Vec<Vec<u32>>>, layer: usize| held.get(layer + 1).map(|banks| banks[0].clone());
        dense.read(&given.tokens[..cut], &positions[..cut], &|_, _, _, _| true, &|layer| above(&old, layer));
        let want = dense.read(&given.tokens[cut..], &positions[cut..], &|_, _, _, _| true, &|layer| above(&new, layer));
        assert_near(&got, &want, 2e-5, &policy.to_string());
    }

    #[test]
    fn p13_streaming_goes_on_behind_its_slots((given, policy) in given_with(2..=32, streaming), cut in any::<usize>()) {
        let model = given.model();
        let (_, a, b) = parts(&given, cut);
        let cap = (policy["heavy"].as_u64().unwrap() + policy["recent"].as_u64().unwrap()) as usize;
        let mut session = session(&model, &policy);
        let mut held = 0;
        for rows in [a, b] {
            held = cap.min(held + rows.len());
            assert!(read(&mut session, rows, given.chunk).iter().all(|x| x.is_finite()), "{policy}");
            assert!(entries(&session).iter().flatten().all(|bank| bank == &(0..held as u32).collect::<Vec<_>>()), "{policy}");
            assert_eq!(session.next_position() as usize, held);
        }
    }

    /// Slots are counted anew, so that steps stand at smaller positions than the prompt that chose the rotations.
    #[test]
    fn streaming_turns_by_what_its_keys_were_turned_by((given, policy) in given_with(2..=32, streaming)) {
        let [long, always] = [given.n() + 3, 0].map(|original| Changed::stretched(given.model(), original));
        let answers = |model: &Changed| {
            let mut session = session(model, &policy);
            [read(&mut session, given.rows(), given.chunk), step(&mut session, 1), step(&mut session, 2)]
        };
        assert_eq!(answers(&long), answers(&always), "{policy}");
    }

    #[test]
    fn a_turn_that_needs_other_rotations_is_refused(given in given(2..=32), cut in any::<usize>()) {
        let (_, a, b) = parts(&given, cut);
        for (original, taken) in [(given.n() + 4, true), (given.n() + 3, false)] {
            let model = Changed::stretched(given.model(), original);
            let mut turns = session(&model, &json!({ "kind": "full" }));
            read(&mut turns, a.clone(), given.chunk);
            let second = in_chunks(given.chunk, |control| turns.prefill(b.clone(), control));
            assert_eq!(second.map(drop).map_err(|error| error.code), taken.then_some(()).ok_or(Code::ContextOverflow));
        }
    }

    #[test]
    fn a_store_goes_on_by_the_rotations_of_its_keys(given in given(2..=32), cut in any::<usize>()) {
        let (_, a, b) = parts(&given, cut);
        let [long, always] = [given.n(), 0].map(|original| Changed::stretched(given.model(), original));
        let cancel = Cancel::default();
        let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: given.chunk, headroom: given.n() };
        let mut first = session(&long, &json!({ "kind": "full" }));
        first.prefill(a, &mut control).unwrap();
        let store = Store::of(&first).unwrap();
        control.headroom = 0;
        let mut behind = store.bind(&long).unwrap().session(Box::new(Full {})).unwrap();
        let got = behind.prefill(b.clone(), &mut control).unwrap();
        assert_eq!(got, first.prefill(b, &mut control).unwrap());
        let want = read(&mut session(&always, &json!({ "kind": "full" })), given.rows(), given.n());
        assert_near(&got, &want, 1e-5, "the second turn");
    }
}
