//! What a session tells and asks for on its way.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use skimlm_core::Stage;
use skimlm_engine::{Cancel, Control, LoadOptions, Loaded, Progress, Request, Session, Spent, generate, load};
use skimlm_models::weights::gguf::write::{Tiny, write_tiny};
use skimlm_models::{OpenOptions, Source, open_source};

use crate::given::*;
use crate::models::Changed;

/// What is told while a prompt is read and a token after it.
fn told(session: &mut Session<'_>, given: &Given) -> Vec<Progress> {
    let (cancel, mut told) = (Cancel::default(), Vec::new());
    let mut control =
        Control { cancel: &cancel, progress: &mut |progress| told.push(progress), chunk: given.chunk, headroom: 4 };
    session.prefill(given.rows(), &mut control).unwrap();
    control.headroom = 3;
    session.step(1, &mut control).unwrap();
    told
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn progress_is_the_share_of_rows_and_layers_that_is_done(given in given(1..=40)) {
        let (n, layers, model) = (given.n(), given.sizes.layers, given.model());
        let ends: Vec<usize> = (1..=n).filter(|end| end.is_multiple_of(given.chunk) || *end == n).collect();
        let want: Vec<Progress> = (0..layers)
            .flat_map(|layer| ends.iter().map(move |end| n * (layer * n + end) / (layers * n)))
            .map(|done| Progress { stage: Stage::Prefill, done, total: n })
            .collect();
        assert_eq!(told(&mut session(&model, &json!({ "kind": "full" })), &given), want);
    }

    #[test]
    fn progress_rises_to_its_end_where_rows_are_left_out((given, policy) in given_with(2..=40, promptdistill)) {
        let model = given.model();
        let told = told(&mut session(&model, &policy), &given);
        assert!(told.is_sorted_by_key(|progress| progress.done), "{policy}: {told:?}");
        assert_eq!(told.last(), Some(&Progress { stage: Stage::Prefill, done: given.n(), total: given.n() }));
    }

    #[test]
    fn time_is_counted_where_it_is_spent(given in given(8..=16)) {
        let model = given.model();
        let mut full = session(&model, &json!({ "kind": "full" }));
        assert_eq!(full.timings(), Spent::default());
        read(&mut full, given.rows(), given.chunk);
        let Spent { prefill, .. } = full.timings();
        assert!(prefill > Duration::ZERO);
        assert_eq!(full.timings(), Spent { prefill, ..Spent::default() });
        step(&mut full, 1);
        let Spent { decode, .. } = full.timings();
        assert!(decode > Duration::ZERO);
        assert_eq!(full.timings(), Spent { prefill, decode, ..Spent::default() });
        let pins = json!({ "sinks": 0, "template": false, "system": false, "question": false, "last": 1 });
        let mut chosen = session(&model, &json!({ "kind": "gemfilter", "layer": 0, "budget": 4, "pins": pins }));
        read(&mut chosen, given.rows(), given.chunk);
        let Spent { filter, select, prefill, decode } = chosen.timings();
        assert!([filter, select, prefill].iter().all(|spent| *spent > Duration::ZERO) && decode.is_zero());
    }

    /// Rotations that depend on the length must not change within one cache.
    #[test]
    fn a_step_turns_for_the_length_that_the_prompt_was_read_for(given in given(1..=16)) {
        let model = Changed::windowed(given.model(), &[]);
        told(&mut session(&model, &json!({ "kind": "full" })), &given);
        assert_eq!(*model.lengths.lock().unwrap(), [given.n() + 4], "a step asks for no other");
    }
}

#[test]
fn room_is_made_for_no_more_than_the_positions() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    write_tiny(&file, &Tiny::default()).unwrap();
    let decoder = open_source(Source::open(&file).unwrap(), OpenOptions::default()).unwrap().model;
    let model = Changed::windowed(decoder, &[]);
    let lengths = Arc::clone(&model.lengths);
    let loaded = load(&file, &LoadOptions::default(), &mut |_, _| Ok(())).unwrap();
    let loaded = Loaded { model: Box::new(model), limit: 20, ..loaded };
    let request = Request::parse(&json!({ "prompt": { "tokens": [5, 6, 7] }, "maxNewTokens": u32::MAX })).unwrap();
    generate(&loaded, &request, &Cancel::default(), Duration::ZERO, &mut |_| {}).unwrap();
    let lengths = lengths.lock().unwrap();
    assert!(!lengths.is_empty() && lengths.iter().all(|&length| length == 3 + 20), "{lengths:?}");
}
