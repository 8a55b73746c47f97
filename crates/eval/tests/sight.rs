//! Selection on a model whose sight is built in: one head sees where the words of the question stand, all others see
//! nothing in particular. Calibration must find that head, and what is chosen by it must hold the evidence.
#![allow(clippy::unwrap_used, clippy::panic)]

mod seeing;

use serde_json::json;
use skimlm_engine::Cancel;
use skimlm_eval::calibrate::{CalibrationPlan, calibrate};
use skimlm_eval::run::{Plan, run};
use skimlm_eval::{Record, read_records};

use seeing::{EYE, Seeing};

fn head(layer: usize, head: usize, keep: f64) -> serde_json::Value {
    json!({
        "kind": "gemfilter", "layer": layer, "budget": { "ratio": keep }, "pins": { "chargeBudget": false },
        "score": { "heads": [{ "layer": layer, "head": head }], "round": "sentence" },
    })
}

fn plan(seeing: &Seeing, cases: usize, select_only: bool) -> Plan {
    let (layer, eye) = EYE;
    serde_json::from_value(json!({
        "text": seeing.book,
        "tasks": ["needle", "multikey"],
        "lengths": [400],
        "cases": cases,
        "selectOnly": select_only,
        "policies": [
            { "name": "full", "policy": { "kind": "full" } },
            { "name": "eye", "policy": head(layer, eye, 0.1) },
            { "name": "blind", "policy": head(layer, 1 - eye, 0.1) },
            { "name": "deeper", "policy": head(layer + 1, 0, 0.1) },
            { "name": "staged", "policy": {
                "kind": "promptdistill", "truncateStages": -1,
                "stages": [{ "layer": 0, "budget": { "ratio": 0.8 } }, { "layer": layer + 2, "budget": { "ratio": 0.5 } }],
            } },
            { "name": "anchors", "policy": { "kind": "anllm" } },
            { "name": "snapkv", "policy": { "kind": "snapkv", "budget": 100 } },
            { "name": "refused", "policy": { "kind": "gemfilter", "budget": 1 } },
            { "name": "random", "policy": { "kind": "random", "budget": { "ratio": 0.2 } } },
            { "name": "auto", "policy": { "kind": "auto", "recall": 0.8 } },
        ],
        "output": seeing.folder().join(if select_only { "chosen" } else { "answered" }),
    }))
    .unwrap()
}

fn records(plan: &Plan, seeing: &Seeing) -> Vec<Record> {
    run(plan, &seeing.loaded, &Cancel::default(), &mut |_| {}).unwrap();
    read_records(&plan.output.join("records.jsonl")).unwrap().0
}

fn recall(records: &[Record], policy: &str) -> f64 {
    let own: Vec<f64> = records.iter().filter(|r| r.policy == policy).filter_map(|r| r.recall).collect();
    own.iter().sum::<f64>() / own.len() as f64
}

#[test]
fn what_the_seeing_head_keeps_holds_the_evidence_and_what_others_keep_does_not() {
    let seeing = Seeing::new();
    let records = records(&plan(&seeing, 12, true), &seeing);
    assert!(recall(&records, "eye") > 0.95, "{}", recall(&records, "eye"));
    for other in ["blind", "deeper", "random"] {
        assert!(recall(&records, other) < 0.45, "{other}: {}", recall(&records, other));
    }
    for record in records.iter().filter(|r| r.policy == "eye") {
        let kept = record.kept.unwrap();
        assert!((0.1..0.25).contains(&kept), "a tenth and the question: {kept}");
    }
}

#[test]
fn policies_that_share_a_pass_choose_what_they_choose_alone() {
    let seeing = Seeing::new();
    let (together, alone) = (records(&plan(&seeing, 1, true), &seeing), records(&plan(&seeing, 1, false), &seeing));
    assert_eq!(together.len(), alone.len());
    for (one, other) in together.iter().zip(&alone) {
        assert_eq!((&one.case, &one.policy), (&other.case, &other.policy));
        assert_eq!((one.recall, one.kept_tokens), (other.recall, other.kept_tokens), "{}", one.policy);
        assert_eq!(one.error, other.error, "{}", one.policy);
        assert_eq!(one.error.is_some(), one.policy == "refused");
        assert_eq!((one.score, one.ttft_ms), (None, None), "nothing was answered");
        assert!(one.policy != "anchors" || one.kept.unwrap() < 0.5, "sentence ends are few: {one:?}");
    }
}

#[test]
fn calibration_finds_the_seeing_head_and_auto_serves_it() {
    let mut seeing = Seeing::new();
    let calibration: CalibrationPlan = serde_json::from_value(json!({
        "text": seeing.book, "name": "seeing", "lengths": [400], "cases": 2, "exactBelow": 100
    }))
    .unwrap();
    let profile = calibrate(&calibration, &seeing.loaded, &Cancel::default(), &mut |_| {}).unwrap();
    // The second hop of a question shares no word with it, which is all that this head sees.
    let setting = profile.setting(0.8).unwrap_or_else(|| panic!("{profile:#?}"));
    let first = &setting.policy["score"]["heads"][0];
    assert_eq!((first["layer"].as_u64(), first["head"].as_u64()), (Some(EYE.0 as u64), Some(EYE.1 as u64)));
    seeing.take(&profile);
    let records = records(&plan(&seeing, 6, true), &seeing);
    assert!(recall(&records, "auto") > 0.95, "{}", recall(&records, "auto"));
    for record in records.iter().filter(|r| r.policy == "auto") {
        assert!(record.kept.unwrap() < 0.4, "{record:?}");
    }
}
