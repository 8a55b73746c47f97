//! The edges of options: the last value that is taken beside the first that is refused, and what memory estimates are told.

use serde_json::{Value, json};
use skimlm_core::{Evidence, LayerShape, Pass, Policy, Reading, Result, Role, Rows, Shape, Stage};

use crate::{Context, PolicySpec, Profile, testing};

/// Two query heads, four layers.
fn shape() -> Shape {
    testing::shape(vec![LayerShape::default(); 4])
}

fn check(policy: &Value) -> Result<()> {
    let shape = shape();
    PolicySpec::parse(policy)?.check(&Context::new(&shape, 1))
}

/// `good` is taken; with `bad` over it the policy is refused at `option`.
fn edge(good: Value, bad: Value, option: &str) {
    check(&good).unwrap_or_else(|error| panic!("{good}: {error}"));
    let mut worse = good;
    worse.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
    let error = check(&worse).expect_err(&format!("{worse} is taken"));
    assert_eq!(error.code.as_str(), "ERR_INVALID_ARG", "{worse}");
    assert_eq!(error.details["option"], option, "{worse}: {error}");
}

#[test]
fn budgets_leave_room_beside_what_is_always_kept() {
    for kind in ["snapkv", "pyramidkv", "adakv"] {
        edge(json!({ "kind": kind, "budget": 33, "window": 32 }), json!({ "budget": 32 }), "policy.budget");
        edge(json!({ "kind": kind, "budget": 2, "window": 1 }), json!({ "window": 0 }), "policy.window");
    }
    for kind in ["tova", "knorm", "keydiff"] {
        edge(json!({ "kind": kind, "budget": 2 }), json!({ "budget": 1 }), "policy.budget");
    }
    let error = check(&json!({ "kind": "tova", "budget": 1 })).unwrap_err();
    assert!(error.message.contains("at least 2: the newest token always stays"), "{error}");
    edge(json!({ "kind": "h2o", "heavy": 1, "recent": 1 }), json!({ "heavy": 0 }), "policy.heavy");
    edge(json!({ "kind": "h2o", "heavy": 1, "recent": 1 }), json!({ "recent": 0 }), "policy.recent");
    edge(json!({ "kind": "sinkwindow", "recent": 1 }), json!({ "recent": 0 }), "policy.recent");
    let blind = json!({ "budget": { "coverage": 0.5, "max": 9 } });
    for kind in ["random", "firstlast"] {
        edge(json!({ "kind": kind, "budget": 1 }), blind.clone(), "policy.budget");
    }
}

#[test]
fn numbers_have_their_ranges() {
    edge(json!({ "kind": "snapkv", "kernel": 1 }), json!({ "kernel": 2 }), "policy.kernel");
    edge(json!({ "kind": "pyramidkv", "slope": 1 }), json!({ "slope": 0 }), "policy.slope");
    for end in [0, 1] {
        edge(json!({ "kind": "adakv", "floor": end }), json!({ "floor": 1.01 }), "policy.floor");
        edge(json!({ "kind": "auto", "recall": end }), json!({ "recall": 1.01 }), "policy.recall");
        edge(
            json!({ "kind": "gemfilter", "fallbackBelow": end }),
            json!({ "fallbackBelow": -0.1 }),
            "policy.fallbackBelow",
        );
    }
    edge(
        json!({ "kind": "promptdistill", "truncateStages": -1 }),
        json!({ "truncateStages": -2 }),
        "policy.truncateStages",
    );
    let raw = json!({ "score": { "softmax": false } });
    edge(json!({ "kind": "gemfilter", "fallbackBelow": 0.5 }), raw.clone(), "policy.fallbackBelow");
    edge(json!({ "kind": "gemfilter", "budget": { "coverage": 0.5, "max": 9 } }), raw, "policy.budget");
}

#[test]
fn scores_name_what_the_model_has() {
    let with = |score: Value| json!({ "kind": "gemfilter", "layer": 2, "score": score });
    let head = |layer: usize, head: usize| json!({ "layer": layer, "head": head });
    let score = |good: Value, bad: Value, option: &str| edge(with(good), with(bad), option);
    score(json!({ "heads": [head(2, 1)] }), json!({ "heads": [head(2, 2)] }), "policy.score.heads");
    score(json!({ "heads": [head(2, 1)] }), json!({ "heads": [head(3, 1)] }), "policy.score.heads");
    score(json!({ "heads": [head(2, 1)] }), json!({ "heads": [] }), "policy.score.heads");
    let error = PolicySpec::parse(&with(json!({ "heads": "most" }))).unwrap_err();
    assert!(error.message.contains("sum, mean, max, groups, or a list"), "{error}");
    score(json!({ "queries": { "window": 1 } }), json!({ "queries": { "window": 0 } }), "policy.score.queries.window");
    score(json!({ "contrast": 3 }), json!({ "contrast": 2 }), "policy.score.contrast");
    score(
        json!({ "contrast": 0, "softmax": false }),
        json!({ "contrast": 3, "softmax": false }),
        "policy.score.contrast",
    );
    let quota = |spans: usize, share: f64| json!({ "quota": { "spans": spans, "share": share } });
    score(quota(1, 1.0), quota(0, 1.0), "policy.score.quota");
    score(quota(1, 0.0), quota(1, 1.1), "policy.score.quota");
    score(json!({ "layers": 1 }), json!({ "layers": 0 }), "policy.score.layers");
    let listed = |layers: usize| json!({ "heads": [head(2, 1)], "layers": layers });
    score(listed(1), listed(2), "policy.score.layers");
    // A layer that chooses needs one behind it.
    edge(json!({ "kind": "gemfilter", "layer": 2 }), json!({ "layer": 3 }), "policy.layer");
    // A list that names a later layer than the one that chooses.
    edge(
        json!({ "kind": "gemfilter", "layer": 2, "score": { "heads": [head(2, 0)] } }),
        json!({ "layer": 1 }),
        "policy.score.heads",
    );
}

#[test]
fn stages_ascend_and_listen_between_each_other() {
    let with = |stages: Value| json!({ "kind": "promptdistill", "stages": stages });
    let at = |layer: usize| json!({ "layer": layer, "budget": 4 });
    edge(with(json!([at(0), at(1)])), with(json!([at(0), at(0)])), "policy.stages[1].layer");
    edge(with(json!([at(2)])), with(json!([at(3)])), "policy.stages[0].layer");
    edge(with(json!([at(2)])), with(json!([])), "policy.stages");
    let coverage = |softmax: bool| json!([{ "layer": 1, "budget": { "coverage": 0.5, "max": 9 }, "score": { "softmax": softmax } }]);
    edge(with(coverage(true)), with(coverage(false)), "policy.stages[0].budget");
    let after = |layers: usize| json!([at(0), { "layer": 2, "budget": 4, "score": { "layers": layers } }]);
    edge(with(after(2)), with(after(3)), "policy.stages[1].score");
    let listed = |layer: usize| json!([at(0), { "layer": 2, "budget": 4, "score": { "heads": [{ "layer": layer, "head": 0 }] } }]);
    edge(with(listed(1)), with(listed(0)), "policy.stages[1].score.heads");
    // Stages of GemFilter end below every layer that the last choice listens to.
    let filter = |layer: usize| json!({ "kind": "gemfilter", "layer": 2, "stages": [at(layer)] });
    edge(filter(1), filter(2), "policy.stages");
}

#[test]
fn estimates_are_told_how_a_prompt_is_read() {
    let shape = shape();
    let reading = |policy: Value| PolicySpec::parse(&policy).unwrap().reading(&Context::new(&shape, 1), 100).unwrap();
    let evict = |kept, per_query_head| Reading::Evict { kept, per_query_head };
    assert_eq!(reading(json!({ "kind": "full" })), Reading::Whole);
    assert_eq!(reading(json!({ "kind": "auto" })), Reading::Whole, "without a profile");
    for (kind, budget) in [("random", json!(25)), ("firstlast", json!({ "ratio": 0.25 }))] {
        assert_eq!(reading(json!({ "kind": kind, "budget": budget })), Reading::Short { kept: 25 });
    }
    assert_eq!(reading(json!({ "kind": "gemfilter", "budget": 7 })), Reading::Restart { kept: 7 });
    assert_eq!(reading(json!({ "kind": "gemfilter", "budget": 7, "fallbackBelow": 0.5 })), Reading::Whole);
    let stages = json!([{ "layer": 2, "budget": { "ratio": 0.5 } }]);
    assert_eq!(reading(json!({ "kind": "promptdistill", "stages": stages })), Reading::Narrow { layer: 2, kept: 50 });
    for kind in ["snapkv", "pyramidkv"] {
        for (mode, per_query_head) in [("query", true), ("kv", false)] {
            let policy = json!({ "kind": kind, "budget": 40, "window": 8, "headMode": mode });
            assert_eq!(reading(policy), evict(40, per_query_head), "{kind}, {mode}");
        }
    }
    assert_eq!(reading(json!({ "kind": "h2o", "heavy": 4, "recent": 3, "headMode": "query" })), evict(7, true));
    assert_eq!(reading(json!({ "kind": "h2o", "heavy": 4, "recent": 3, "headMode": "kv" })), evict(7, false));
    assert_eq!(reading(json!({ "kind": "sinkwindow", "sink": 4, "recent": 3 })), evict(7, false));
    for kind in ["adakv", "tova", "knorm", "keydiff"] {
        assert_eq!(reading(json!({ "kind": kind, "budget": 40 })), evict(40, false), "{kind}");
    }
}

#[test]
fn a_budget_below_the_pins_is_refused_by_the_name_of_its_option() {
    let refused = |policy: Value| {
        let shape = shape();
        let mut built = PolicySpec::parse(&policy).unwrap().build(&Context::new(&shape, 1)).unwrap();
        // A question is pinned as a whole.
        let rows = Rows::consecutive(vec![0; 20], 0, Role::Question);
        let prompt = Pass { stage: Stage::Prefill, rows, layers: 0..shape.layers.len() };
        let error = built.begin(prompt, &shape).unwrap_err();
        assert!(error.message.contains("policy.pins.chargeBudget"), "{error}");
        error.details["option"].as_str().unwrap().to_owned()
    };
    for kind in ["gemfilter", "random", "firstlast"] {
        assert_eq!(refused(json!({ "kind": kind, "budget": 8 })), "policy.budget");
    }
    let stages = json!([{ "layer": 0, "budget": 25 }, { "layer": 1, "budget": 8 }]);
    assert_eq!(refused(json!({ "kind": "promptdistill", "stages": stages.clone() })), "policy.stages[1].budget");
    assert_eq!(
        refused(json!({ "kind": "gemfilter", "stages": stages, "layer": 2, "budget": 12 })),
        "policy.stages[1].budget"
    );
}

/// A policy and what it makes of a prompt of documents and one question token.
fn begun(policy: &Value, n: usize) -> (Box<dyn Policy>, Pass) {
    let shape = shape();
    let mut built = PolicySpec::parse(policy).unwrap().build(&Context::new(&shape, 2)).unwrap();
    let pass = begin(&mut *built, n);
    (built, pass)
}

fn begin(policy: &mut dyn Policy, n: usize) -> Pass {
    let mut rows = Rows::consecutive(vec![0; n], 0, Role::Document);
    rows.roles[n - 1] = Role::Question;
    policy.begin(Pass { stage: Stage::Prefill, rows, layers: 0..4 }, &shape()).unwrap()
}

#[test]
fn a_default_budget_grows_with_the_pins() {
    for kind in ["random", "firstlast"] {
        let (mut policy, _) = begun(&json!({ "kind": kind }), 20);
        let rows = Rows::consecutive(vec![0; 1500], 0, Role::Question);
        let pass = policy.begin(Pass { stage: Stage::Prefill, rows, layers: 0..4 }, &shape()).unwrap();
        assert_eq!(pass.rows.len(), 1500, "{kind}: a question is pinned as a whole");
    }
}

#[test]
fn a_coverage_chooses_even_where_its_maximum_holds_the_prompt() {
    let scored = |policy: &dyn Policy, layer: usize, pass: &Pass| {
        matches!(policy.evidence(layer, pass), Evidence::Scores { .. })
    };
    for max in [json!({ "ratio": 1 }), json!(99)] {
        let coverage = json!({ "coverage": 0.5, "max": max });
        let (policy, pass) = begun(&json!({ "kind": "gemfilter", "budget": coverage }), 40);
        assert_eq!((pass.stage, policy.report()), (Stage::Filter, None));
        let stages = json!([{ "layer": 0, "budget": coverage }]);
        let (policy, pass) = begun(&json!({ "kind": "gemfilter", "stages": stages, "budget": 8 }), 40);
        assert!(scored(&*policy, 0, &pass));
        let (policy, pass) = begun(&json!({ "kind": "promptdistill", "stages": stages }), 40);
        assert!(scored(&*policy, 0, &pass));
    }
    let (policy, pass) = begun(&json!({ "kind": "gemfilter", "budget": { "ratio": 1 } }), 40);
    assert_eq!((pass.stage, policy.report().unwrap().indices.len()), (Stage::Prefill, 40));
}

#[test]
fn what_one_prompt_kept_is_not_reported_of_the_next() {
    let (mut policy, _) = begun(&json!({ "kind": "gemfilter", "budget": 8 }), 6);
    assert_eq!(policy.report().unwrap().indices.len(), 6);
    assert_eq!(begin(&mut *policy, 40).stage, Stage::Filter);
    assert_eq!(policy.report(), None);
}

#[test]
fn what_check_refuses_is_not_built() {
    let shape = shape();
    for policy in [json!({ "kind": "snapkv", "budget": 8, "window": 32 }), json!({ "kind": "gemfilter", "layer": 99 })]
    {
        let error = PolicySpec::parse(&policy).unwrap().build(&Context::new(&shape, 1)).err().unwrap();
        assert_eq!(error.code.as_str(), "ERR_INVALID_ARG", "{policy}");
    }
}

#[test]
fn forced_indices_ascend() {
    let shape = shape();
    for kind in ["gemfilter", "promptdistill"] {
        let check = |forced: &[u32]| {
            let context = Context { forced: Some(forced), ..Context::new(&shape, 1) };
            PolicySpec::parse(&json!({ "kind": kind })).unwrap().check(&context)
        };
        check(&[1, 5, 9]).unwrap();
        for (bad, value) in [([9, 1, 5], 1), ([1, 5, 5], 5)] {
            let error = check(&bad).unwrap_err();
            assert_eq!((&error.details["option"], &error.details["value"]), (&"forceIndices".into(), &value.into()));
        }
    }
}

#[test]
fn a_profile_with_a_setting_that_cannot_work_is_refused() {
    let shape = shape();
    let setting = |policy: Value| {
        let recall = json!({ "mean": 0.9, "low": 0.8, "high": 1.0, "cases": 10 });
        json!({ "name": "a", "cost": 0.5, "recall": recall, "policy": policy })
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.json");
    let read = |policy: Value| {
        let profile = json!({
            "name": "tiny", "exactBelow": 10, "settings": [setting(policy)],
            "model": { "fingerprint": "", "hidden": 8, "heads": 2, "vocab": 16, "layers": 4 },
            "calibration": { "tasks": [], "lengths": [], "cases": 0, "seed": 0, "version": "0" },
        });
        std::fs::write(&path, profile.to_string()).unwrap();
        Profile::read(&path, &shape, 2)
    };
    let at = |layer: usize| json!({ "kind": "gemfilter", "layer": layer, "budget": 4 });
    read(at(2)).unwrap();
    assert_eq!(read(at(3)).unwrap_err().details["option"], "policy.layer");
    // Without `layer` the model's own counts.
    let staged =
        |layer: usize| json!({ "kind": "gemfilter", "stages": [{ "layer": layer, "budget": 8 }], "budget": 4 });
    read(staged(1)).unwrap();
    assert_eq!(read(staged(2)).unwrap_err().details["option"], "policy.stages");
}
