//! Runs and calibration on a tiny random model made here: what they find is noise, how they find it is not.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;
use skimlm_core::Code;
use skimlm_engine::{Cancel, LoadOptions, Loaded, load};
use skimlm_eval::calibrate::{CalibrationPlan, calibrate};
use skimlm_eval::run::{Plan, run};
use skimlm_eval::{Record, read_records};
use skimlm_models::weights::gguf::write::{Tiny, write_tiny};
use skimlm_models::weights::random::Sizes;
use skimlm_policies::Profile;

fn loaded(folder: &Path) -> Loaded {
    let file = folder.join("tiny.gguf");
    let tiny = Tiny { sizes: Sizes { layers: 6, ..Tiny::default().sizes }, ..Tiny::default() };
    write_tiny(&file, &tiny).unwrap();
    load(&file, &LoadOptions::default(), &mut |_, _| Ok(())).unwrap()
}

/// Sentences that differ, so that a fact among them can be found.
fn book(folder: &Path) -> PathBuf {
    let mut text = String::new();
    let syllables = ["ba", "de", "fi", "go", "lu", "ma", "ne", "ri", "so", "tu"];
    for i in 0..400usize {
        let word: String = [i % 10, i / 10 % 10, i / 100, i % 7].map(|s| syllables[s]).concat();
        write!(text, "The keeper wrote line {i} about {word}, ships and the price of rope. ").unwrap();
    }
    let path = folder.join("book.txt");
    std::fs::write(&path, text).unwrap();
    path
}

fn plan(folder: &Path) -> Plan {
    serde_json::from_value(json!({
        "text": book(folder),
        "tasks": ["needle", "multivalue", "continuation"],
        "lengths": [300],
        "cases": 2,
        "policies": [
            { "name": "full", "policy": { "kind": "full" } },
            { "name": "half", "policy": { "kind": "gemfilter", "budget": { "ratio": 0.5 }, "pins": { "chargeBudget": false } } },
            { "name": "heads", "policy": { "kind": "snapkv", "budget": 64 } },
            { "name": "layers", "policy": { "kind": "tova", "budget": 64 } },
            { "name": "anchors", "policy": { "kind": "anllm" } },
            { "name": "bm25", "policy": { "kind": "bm25", "budget": 150 } },
        ],
        "output": folder.join("out"),
    }))
    .unwrap()
}

#[test]
fn a_run_measures_every_case_under_every_policy() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(folder.path());
    let plan = plan(folder.path());
    let mut seen = Vec::new();
    let summary = run(&plan, &loaded, &Cancel::default(), &mut |p| seen.push((p.done, p.total))).unwrap();
    let (records, _) = read_records(&plan.output.join("records.jsonl")).unwrap();
    assert_eq!(records.len(), 3 * 2 * 6);
    assert_eq!(*seen.last().unwrap(), (36, 36));
    assert_eq!(summary.policies.iter().map(|cell| cell.cases).sum::<usize>(), 36, "{records:#?}");
    let of = |task: &str, policy: &str| -> Vec<&Record> {
        records.iter().filter(|r| r.task == task && r.policy == policy).collect()
    };
    for record in of("needle", "full") {
        assert_eq!((record.recall, record.kept, record.score.is_some()), (Some(1.0), Some(1.0), true));
    }
    for record in of("needle", "half") {
        let kept = record.kept.unwrap_or_else(|| panic!("{record:?}"));
        assert!((0.45..0.75).contains(&kept), "{kept}");
        assert!(record.ttft_ms.unwrap() > 0.0);
    }
    for policy in ["heads", "layers"] {
        for record in of("multivalue", policy) {
            assert_eq!(record.kept_tokens, Some(64), "{record:?}");
        }
    }
    for record in of("continuation", "anchors") {
        let full = of("continuation", "full").into_iter().find(|full| full.case == record.case).unwrap();
        assert!(record.kept.unwrap() < 0.3 && record.loss != full.loss, "{record:?}");
    }
    for record in of("needle", "bm25") {
        assert_eq!(record.recall, Some(1.0), "question and fact share words: {record:?}");
    }
    for record in records.iter().filter(|r| r.task == "continuation") {
        assert!(record.loss.is_some_and(|loss| loss > 0.0) && record.score.is_none(), "{record:?}");
    }
    for cell in summary.cells.iter().filter(|cell| cell.task.as_deref() == Some("continuation")) {
        assert!(cell.loss_difference.is_some(), "{cell:?}");
    }
    for name in ["summary.json", "table.md", "report.html"] {
        assert!(std::fs::read_to_string(plan.output.join(name)).unwrap().contains("half"), "{name}");
    }
}

#[test]
fn a_stopped_run_keeps_what_is_done_and_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(folder.path());
    let plan = plan(folder.path());
    let cancel = Cancel::default();
    run(&plan, &loaded, &cancel, &mut |p| {
        if p.done == 5 {
            cancel.stop()
        }
    })
    .unwrap();
    let path = plan.output.join("records.jsonl");
    let before = std::fs::read_to_string(&path).unwrap();
    assert_eq!(before.lines().count(), 5);
    std::fs::write(&path, format!("{before}{{\"case\":\"cut o")).unwrap();
    let mut fresh = 0;
    run(&plan, &loaded, &Cancel::default(), &mut |p| fresh += usize::from(p.last.is_some())).unwrap();
    assert_eq!(fresh, 36 - 5);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with(&before));
}

#[test]
fn a_folder_is_of_one_model_one_text_and_one_policy_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(folder.path());
    let whole = plan(folder.path());
    let of = |policies: std::ops::Range<usize>, cases| {
        let policies = whole.policies[policies].to_vec();
        Plan { tasks: vec!["needle".into()], cases, policies, ..whole.clone() }
    };
    let again = |plan: &Plan| run(plan, &loaded, &Cancel::default(), &mut |_| {});
    again(&of(0..2, 1)).unwrap();
    // More cases and other policies are more of the same, and the plan that is written knows of all of them.
    let summary = again(&of(5..6, 2)).unwrap();
    let counts: Vec<_> = summary.policies.iter().map(|cell| (cell.policy.as_str(), cell.cases)).collect();
    assert_eq!(counts, [("full", 1), ("half", 1), ("bm25", 2)]);
    let refused = |plan: &Plan, what: &str| {
        let error = again(plan).unwrap_err();
        assert_eq!((error.code, &error.details["option"]), (Code::InvalidArg, &json!("plan.output")), "{error}");
        assert!(error.message.contains(what), "{error}");
    };
    let mut half = of(1..2, 1);
    half.policies[0].policy["budget"] = 64.into();
    refused(&half, "another policy called half");
    let (book, moved) = (whole.text.clone().unwrap(), folder.path().join("moved.txt"));
    std::fs::copy(&book, &moved).unwrap();
    again(&Plan { text: Some(moved.clone()), ..of(0..2, 1) }).unwrap();
    std::fs::write(&moved, std::fs::read_to_string(&book).unwrap().replace("rope", "tar")).unwrap();
    refused(&Plan { text: Some(moved), ..of(0..2, 1) }, "another text");
    refused(&Plan { select_only: true, ..of(0..2, 1) }, "with `selectOnly: false`");
    // What was planned and never measured contradicts nothing.
    let stopped = Cancel::default();
    stopped.stop();
    run(&of(2..3, 1), &loaded, &stopped, &mut |_| {}).unwrap();
    let mut heads = of(2..3, 1);
    heads.policies[0].policy["budget"] = 48.into();
    again(&heads).unwrap();
    let path = whole.output.join("plan.json");
    let written: Plan = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let names: Vec<_> = written.policies.iter().map(|contender| contender.name.as_str()).collect();
    assert_eq!(names, ["heads", "full", "half", "bm25"], "what a run wrote is a plan");
    let path = whole.output.join("measured.json");
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, written.replace(&loaded.info.file.fingerprint, "of-another")).unwrap();
    refused(&of(0..2, 1), "another model");
    std::fs::write(&path, written.replace("\"f16\"", "\"f32\"")).unwrap();
    refused(&of(0..2, 1), "another `kvDtype`");
    std::fs::remove_file(whole.output.join("records.jsonl")).unwrap();
    again(&of(0..2, 1)).unwrap();
}

#[test]
fn the_published_needle_test_runs_over_a_folder_of_texts() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(folder.path());
    let essays = folder.path().join("essays");
    std::fs::create_dir(&essays).unwrap();
    std::fs::copy(book(folder.path()), essays.join("one.txt")).unwrap();
    std::fs::write(essays.join("two.md"), "Not read.").unwrap();
    let mut plan: Plan = serde_json::from_value(json!({
        "files": [{ "format": "needle", "path": essays }],
        "lengths": [600, 900],
        "cases": 3,
        "policies": [
            { "name": "full", "policy": { "kind": "full" } },
            { "name": "bm25", "policy": { "kind": "bm25", "budget": 500 } },
        ],
        "output": folder.path().join("out"),
    }))
    .unwrap();
    run(&plan, &loaded, &Cancel::default(), &mut |_| {}).unwrap();
    let (records, _) = read_records(&plan.output.join("records.jsonl")).unwrap();
    let found: Vec<_> = records.iter().map(|r| (r.length, r.depth.unwrap(), r.policy.as_str())).collect();
    let want = [600, 900].into_iter().flat_map(|length| [0.0, 0.5, 1.0].map(|depth| (length, depth)));
    let want: Vec<_> =
        want.flat_map(|(length, depth)| ["full", "bm25"].map(|policy| (length, depth, policy))).collect();
    assert_eq!(found, want);
    for record in &records {
        assert_eq!((record.task.as_str(), record.recall), ("needle-folder", Some(1.0)), "{record:?}");
        assert!(record.score.is_some() && record.prompt_tokens < record.length, "{record:?}");
    }
    // With and without the harness's flaws over one folder, and again.
    let mut published = plan.files[0].clone();
    published.as_published = true;
    plan.files.push(published.clone());
    for _ in 0..2 {
        run(&plan, &loaded, &Cancel::default(), &mut |_| {}).unwrap();
    }
    run(&Plan { files: vec![published], ..plan.clone() }, &loaded, &Cancel::default(), &mut |_| {}).unwrap();
    let (records, _) = read_records(&plan.output.join("records.jsonl")).unwrap();
    assert_eq!(records.len(), 2 * found.len());
    let written: Plan = serde_json::from_slice(&std::fs::read(plan.output.join("plan.json")).unwrap()).unwrap();
    assert_eq!(written.files.len(), 2, "{written:?}");
    plan.files[0].path = folder.path().join("nothing");
    let error = run(&plan, &loaded, &Cancel::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.code, Code::InvalidArg);
}

#[test]
fn plans_that_cannot_run_are_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(folder.path());
    let refused = |option: &str, change: &dyn Fn(&mut Plan)| {
        let mut plan = plan(folder.path());
        change(&mut plan);
        let error = run(&plan, &loaded, &Cancel::default(), &mut |_| panic!("it began")).unwrap_err();
        assert_eq!((error.code, &error.details["option"]), (Code::InvalidArg, &json!(option)), "{error}");
    };
    refused("plan.tasks", &|plan| plan.tasks = vec!["needles".into()]);
    refused("plan.text", &|plan| plan.text = None);
    refused("plan.policies", &|plan| plan.policies.clear());
    refused("plan.policies", &|plan| plan.policies[1].name = "full".into());
    refused("plan.policies", &|plan| {
        plan.policies.remove(0);
        plan.policies[0].name = "full".into();
    });
    refused("plan.cases", &|plan| plan.cases = 0);
    refused("policy.layer", &|plan| plan.policies[1].policy["layer"] = 99.into());
    refused("policy.anchors", &|plan| plan.policies[4].policy["anchors"] = "<no such token>".into());
    refused("tokens", &|plan| plan.lengths = vec![8]);
}

#[test]
fn calibration_makes_a_profile_that_this_model_takes() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = loaded(folder.path());
    let plan: CalibrationPlan = serde_json::from_value(json!({
        "text": book(folder.path()), "name": "tiny", "lengths": [300], "cases": 1, "exactBelow": 100
    }))
    .unwrap();
    let refused = |option: &str, change: &dyn Fn(&mut CalibrationPlan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        let error = calibrate(&plan, &loaded, &Cancel::default(), &mut |_| panic!("it began")).unwrap_err();
        assert_eq!((error.code, &error.details["option"]), (Code::InvalidArg, &json!(option)), "{error}");
    };
    refused("plan.cases", &|plan| plan.cases = 0);
    refused("plan.lengths", &|plan| plan.lengths.clear());
    refused("plan.keep", &|plan| plan.keep = 1.0);
    let mut phases = Vec::new();
    let profile = calibrate(&plan, &loaded, &Cancel::default(), &mut |p| {
        assert!(p.done < p.total, "{p:?}");
        phases.push(p.phase);
    })
    .unwrap();
    phases.dedup();
    assert_eq!(phases, ["listen", "choose", "check"]);
    assert!(!profile.settings.is_empty() && profile.settings.is_sorted_by(|a, b| a.cost <= b.cost));
    for setting in &profile.settings {
        assert!(setting.cost > 0.0 && (0.0..=1.0).contains(&setting.recall.mean), "{setting:?}");
    }
    let path = folder.path().join("tiny.gguf.skimlm.json");
    std::fs::write(&path, serde_json::to_string(&profile).unwrap()).unwrap();
    assert_eq!(Profile::read(&path, loaded.model.shape(), loaded.info.file.default_filter_layer).unwrap(), profile);
    let again = load(&folder.path().join("tiny.gguf"), &LoadOptions::default(), &mut |_, _| Ok(())).unwrap();
    assert_eq!(again.profile.as_deref(), Some(&profile), "a profile beside the model is taken");
}
