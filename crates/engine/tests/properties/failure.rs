//! What must not pass in silence.

use proptest::prelude::*;
use serde_json::{Value, json};
use skimlm_core::Code;

use crate::given::*;
use crate::models::Changed;

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn p09_scores_that_are_no_numbers_are_an_error(
        given in given(4..=24),
        row in 0..24usize,
        value in prop_oneof![Just(f32::NAN), Just(f32::INFINITY)],
        score in score(),
    ) {
        let (n, layer) = (given.n(), given.sizes.layers - 2);
        // Before the asking row, so that its softmax sees the value.
        let row = row % (n - 1);
        let model = Changed::broken(given.model(), layer, row, value);
        let mut score = score;
        score["queries"] = "last".into();
        if value.is_infinite() {
            // Raw and added up: a softmax takes the infinity of one sign for "not at all", a maximum passes it over.
            score["softmax"] = false.into();
            score["heads"] = "sum".into();
        }
        let pins = json!({ "sinks": 0, "template": false, "system": false, "question": false, "last": 1 });
        let softmax = [
            json!({ "kind": "snapkv", "window": 1, "budget": 2 }),
            json!({ "kind": "snapkv", "window": 1, "budget": 2, "headMode": "query" }),
            json!({ "kind": "pyramidkv", "window": 1, "budget": 2 }),
            json!({ "kind": "adakv", "window": 1, "budget": 2 }),
            json!({ "kind": "h2o", "heavy": 1, "recent": 1 }),
            json!({ "kind": "tova", "budget": 2 }),
        ];
        let others = [
            json!({ "kind": "gemfilter", "layer": layer, "budget": 2, "pins": pins, "score": score }),
            json!({ "kind": "promptdistill", "stages": [{ "layer": layer, "budget": 2, "score": score }], "pins": pins }),
            json!({ "kind": "knorm", "budget": 2 }),
            json!({ "kind": "keydiff", "budget": 2 }),
        ];
        let softmax = if value.is_nan() { &softmax[..] } else { &[] };
        for policy in softmax.iter().chain(&others) {
            let mut session = session(&model, policy);
            let failed = in_chunks(n, |control| session.prefill(given.rows(), control));
            assert_eq!(failed.map_err(|e| e.code).err(), Some(Code::Numerics), "{policy}");
        }
    }

    #[test]
    fn a_budget_below_the_pins_is_refused(given in given(4..=40), sinks in 2..4usize) {
        let model = given.model();
        let pins = json!({ "sinks": sinks, "template": false, "system": false, "question": false, "last": 0 });
        let stages = json!([{ "layer": 0, "budget": sinks - 1 }]);
        for (policy, fits) in [
            (json!({ "kind": "gemfilter", "budget": sinks - 1, "pins": pins }), false),
            (json!({ "kind": "gemfilter", "budget": sinks, "pins": pins }), true),
            (json!({ "kind": "random", "budget": sinks - 1, "pins": pins }), false),
            (json!({ "kind": "firstlast", "budget": sinks, "pins": pins }), true),
            // The stage that keeps everything before the query needs no budget for it.
            (json!({ "kind": "promptdistill", "stages": stages, "pins": pins }), given.n() <= sinks),
        ] {
            let mut session = session(&model, &policy);
            let read = in_chunks(given.chunk, |control| session.prefill(given.rows(), control));
            assert_eq!(read.map_err(|e| e.code).err(), if fits { None } else { Some(Code::InvalidArg) }, "{policy}");
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused(given in given(1..=1)) {
        let (model, layers) = (given.model(), given.sizes.layers);
        let heads = |layer: usize, head: usize| json!([{ "layer": layer, "head": head }]);
        let stages = |layers: &[usize]| layers.iter().map(|l| json!({ "layer": l, "budget": 4 })).collect::<Value>();
        for policy in [
            json!({ "kind": "gemfilter", "budget": 0 }),
            json!({ "kind": "gemfilter", "budget": 1.5 }),
            json!({ "kind": "gemfilter", "budget": -1 }),
            json!({ "kind": "gemfilter", "budget": { "ratio": 0 } }),
            json!({ "kind": "gemfilter", "budget": { "ratio": 0.5, "of": 2 } }),
            json!({ "kind": "gemfilter", "layer": layers - 1 }),
            json!({ "kind": "gemfilter", "score": { "heads": heads(layers - 1, 0) } }),
            json!({ "kind": "gemfilter", "score": { "heads": heads(0, given.sizes.heads) } }),
            json!({ "kind": "gemfilter", "score": { "heads": [] } }),
            json!({ "kind": "gemfilter", "score": { "queries": { "window": 0 } } }),
            json!({ "kind": "gemfilter", "score": { "round": { "chunk": 0 } } }),
            json!({ "kind": "promptdistill", "stages": [] }),
            json!({ "kind": "promptdistill", "stages": stages(&[0, 0]) }),
            json!({ "kind": "promptdistill", "stages": stages(&[layers - 1]) }),
            json!({ "kind": "promptdistill", "truncateStages": -2 }),
            json!({ "kind": "snapkv", "window": 8, "budget": 8 }),
            json!({ "kind": "snapkv", "window": 0 }),
            json!({ "kind": "snapkv", "kernel": 4 }),
            json!({ "kind": "adakv", "floor": 1.5 }),
            json!({ "kind": "pyramidkv", "slope": 0 }),
            json!({ "kind": "h2o", "heavy": 0 }),
            json!({ "kind": "h2o", "recent": 0 }),
            json!({ "kind": "tova", "budget": 1 }),
            json!({ "kind": "knorm", "budget": 1 }),
            json!({ "kind": "keydiff", "budget": 1 }),
            json!({ "kind": "sinkwindow", "recent": 0 }),
            json!({ "kind": "random", "budget": 0 }),
            json!({ "kind": "firstlast", "budget": 0 }),
        ] {
            let refused = try_session(&model, &policy, None).map(|_| ()).map_err(|e| e.code);
            assert_eq!(refused.err(), Some(Code::InvalidArg), "{policy}");
        }
        let refused = try_session(&model, &json!({ "kind": "snapkv" }), Some(&[0])).map(|_| ()).map_err(|e| e.code);
        assert_eq!(refused.err(), Some(Code::InvalidArg));
    }
}
