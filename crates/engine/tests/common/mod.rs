//! What the tests against recorded values share.
#![allow(dead_code, reason = "no test uses all of it")]

use serde_json::{Value, json};
use skimlm_policies::PolicySpec;

/// The likeliest token, of equals the first.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32
}

/// A preset with some options replaced.
pub(crate) fn preset(name: &str, changes: Value) -> Value {
    let mut policy = PolicySpec::preset(name).unwrap().to_json();
    for (option, value) in changes.as_object().unwrap() {
        policy[option] = value.clone();
    }
    policy
}

/// PromptDistill as published, with stages of a layer and a budget each.
pub(crate) fn stages(stages: &[(usize, usize)], truncate: i32) -> Value {
    let published = PolicySpec::preset("promptdistill-paper").unwrap().to_json()["stages"][0].clone();
    let stage = |&(layer, budget): &(usize, usize)| {
        let mut stage = published.clone();
        stage["layer"] = layer.into();
        stage["budget"] = budget.into();
        stage
    };
    let stages: Vec<_> = stages.iter().map(stage).collect();
    preset("promptdistill-paper", json!({ "stages": stages, "truncateStages": truncate }))
}
