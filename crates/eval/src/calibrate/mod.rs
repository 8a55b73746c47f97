//! Calibration: which heads of the early layers find evidence on a model, and how far down that is.
//!
//! Every head of the layers up to 0.55 of the depth scores some cases with hidden facts; heads, layers and stages are
//! chosen by the recall they would have had, cross-validated over tasks; the best ways by cost and recall are then
//! run as policies on new cases, which gives the recall that the profile states.

mod choose;
mod cost;
mod listen;
mod overhear;
mod search;
mod way;
mod whole;

use std::path::PathBuf;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Result};
use skimlm_engine::{Cancel, Loaded};
use skimlm_policies::{Calibration, Measured, ModelKey, PolicySpec, Profile, Setting};

use crate::run::chorus::alone;
use crate::run::haystack;
use crate::run::prompt::{ReadCase, counter};
use crate::{Case, Haystack, Recipe, Split, evidence_recall, stats, task};
use cost::Cost;
use listen::{Heard, listen};
use overhear::Overheard;
use way::{Way, ways};
use whole::about_everything;

/// Tasks whose evidence is known.
const TASKS: [&str; 6] = ["needle", "paraphrase", "multikey", "multivalue", "multiquery", "twohop"];
/// The deepest layer that listens, as a share of the depth.
const DEEPEST: f64 = 0.55;
/// The share of the questions about everything that must be known as such, or nothing falls back.
const RIGHTLY_WHOLE: f64 = 0.8;
/// The share of the questions about something that may be read whole for it.
const WRONGLY_WHOLE: f64 = 0.2;
/// The length that costs are stated for, if the model can read it.
const COST_TOKENS: usize = 8000;

/// What to calibrate on.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CalibrationPlan {
    /// A text file to hide facts in.
    pub text: PathBuf,
    /// What to call the profile.
    pub name: String,
    /// Document lengths in tokens.
    #[serde(default = "lengths")]
    pub lengths: Vec<usize>,
    /// Cases of each task and length to choose heads on, and as many to check them.
    #[serde(default = "cases")]
    pub cases: usize,
    /// The first seed.
    #[serde(default)]
    pub seed: u64,
    /// The share of the prompt that is read in the end, above 0 and below 1.
    #[serde(default = "keep")]
    pub keep: f64,
    /// Prompts of fewer tokens shall be read whole.
    #[serde(default = "exact_below")]
    pub exact_below: usize,
}

fn lengths() -> Vec<usize> {
    vec![1000, 2500]
}

fn cases() -> usize {
    3
}

fn keep() -> f64 {
    0.2
}

fn exact_below() -> usize {
    1024
}

/// How far a calibration has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CalibrationProgress {
    /// What is being done: `listen`, `choose` or `check`.
    pub phase: &'static str,
    /// Parts done.
    pub done: usize,
    /// Parts in all.
    pub total: usize,
}

/// Measures a model and makes its profile.
pub fn calibrate(
    plan: &CalibrationPlan,
    loaded: &Loaded,
    cancel: &Cancel,
    progress: &mut dyn FnMut(CalibrationProgress),
) -> Result<Profile> {
    let shape = loaded.model.shape();
    let deepest = ((shape.layers.len() as f64 * DEEPEST) as usize).min(shape.layers.len().saturating_sub(2));
    if plan.cases == 0 {
        return Err(Error::invalid_option("plan.cases", plan.cases, "at least 1"));
    }
    if plan.lengths.is_empty() {
        return Err(Error::invalid_option("plan.lengths", Vec::<usize>::new(), "at least one length"));
    }
    if deepest == 0 {
        let layers = format!("{} layers deep", shape.layers.len());
        return Err(Error::invalid_option("model", layers, "at least 3 layers deep, so that one of them can choose"));
    }
    if !(plan.keep > 0.0 && plan.keep < 1.0) {
        return Err(Error::invalid_option("plan.keep", plan.keep, "a share above 0 and below 1"));
    }
    let text = haystack(&plan.text)?;
    let sighted = cases_of(plan, &text, loaded, plan.seed, cancel)?;
    let total = sighted.len();
    let mut heard = Vec::with_capacity(total);
    for (done, case) in sighted.iter().enumerate() {
        progress(CalibrationProgress { phase: "listen", done, total });
        heard.push(listen(case, loaded, deepest, cancel)?);
    }
    let heard: Vec<&Heard> = heard.iter().collect();
    let cost = Cost::new(shape, loaded.info.file.parameters, loaded.footprint.config.tied_head);
    let mut look = |done, total| {
        progress(CalibrationProgress { phase: "choose", done, total });
        cancel.check()
    };
    let tokens = COST_TOKENS.min(shape.max_positions) as f64;
    let ways = ways(&heard, deepest, plan.keep, &cost, tokens, &mut look)?;
    let next = plan.seed + (plan.cases * plan.lengths.len()) as u64;
    let fresh = cases_of(plan, &text, loaded, next, cancel)?;
    let blind = blind_cases_of(plan, &text, loaded, next)?;
    let total = ways.len() * (fresh.len() + blind.len());
    let mut done = 0;
    let mut settings = Vec::with_capacity(ways.len());
    for way in &ways {
        let mut check = |cases: &[Case]| {
            let mut checked = Vec::with_capacity(cases.len());
            for case in cases {
                progress(CalibrationProgress { phase: "check", done, total });
                done += 1;
                checked.push(check(case, way, loaded, cancel)?);
            }
            Ok::<_, Error>(checked)
        };
        let (found, lost) = (check(&fresh)?, check(&blind)?);
        let recalls: Vec<f64> = found.iter().filter_map(|checked| checked.recall).collect();
        let shares = |checked: &[Checked]| checked.iter().filter_map(|checked| checked.share).collect::<Vec<f64>>();
        settings.push(Setting {
            name: way.stages.iter().map(|stage| stage.layer().to_string()).collect::<Vec<_>>().join("-"),
            policy: way.policy(threshold(&shares(&found), &shares(&lost))),
            recall: measured(&recalls)?,
            cost: rounded(way.cost),
        });
    }
    // What cross-validation promised and the check did not keep.
    let mut best = f64::NEG_INFINITY;
    settings.retain(|setting: &Setting| {
        let better = setting.recall.mean > best || setting.falls_back();
        best = best.max(setting.recall.mean);
        better
    });
    Ok(Profile {
        name: plan.name.clone(),
        model: ModelKey::of(shape, &loaded.info.file.fingerprint),
        exact_below: plan.exact_below,
        settings,
        calibration: Calibration {
            tasks: TASKS.map(str::to_owned).to_vec(),
            lengths: plan.lengths.clone(),
            cases: sighted.len() + fresh.len(),
            seed: plan.seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
    })
}

fn cases_of(plan: &CalibrationPlan, text: &Haystack, loaded: &Loaded, seed: u64, cancel: &Cancel) -> Result<Vec<Case>> {
    let count = counter(loaded);
    let mut cases = Vec::new();
    for name in TASKS {
        for (l, &tokens) in plan.lengths.iter().enumerate() {
            for i in 0..plan.cases {
                cancel.check()?;
                let depth = (i as f32 + 0.5) / plan.cases as f32;
                let seed = seed + (l * plan.cases + i) as u64;
                let recipe = Recipe { tokens, seed, depth, split: Split::Calibration };
                cases.push(task(name)?.make(text, &recipe, &count)?);
            }
        }
    }
    Ok(cases)
}

fn blind_cases_of(plan: &CalibrationPlan, text: &Haystack, loaded: &Loaded, seed: u64) -> Result<Vec<Case>> {
    let count = counter(loaded);
    let recipe = |&tokens: &usize| Recipe { tokens, seed, depth: 0.5, split: Split::Calibration };
    let of_length = |tokens| about_everything(text, &recipe(tokens), &count);
    Ok(plan.lengths.iter().map(of_length).collect::<Result<Vec<_>>>()?.concat())
}

/// The share of the scores on the document below which a question is taken for one about everything: the one that tells
/// both kinds apart best, if it does so well enough.
fn threshold(sighted: &[f64], blind: &[f64]) -> Option<f64> {
    let below = |shares: &[f64], limit: f64| {
        shares.iter().filter(|share| **share < limit).count() as f64 / shares.len().max(1) as f64
    };
    let tried = blind.iter().map(|share| {
        let limit = ((100.0 * share).floor() + 1.0) / 100.0;
        (limit, below(blind, limit), below(sighted, limit))
    });
    let (limit, right, wrong) = tried.max_by(|a, b| (a.1 - a.2).total_cmp(&(b.1 - b.2)).then(b.0.total_cmp(&a.0)))?;
    (right >= RIGHTLY_WHOLE && wrong <= WRONGLY_WHOLE).then_some(limit)
}

/// What a way makes of a case, fallback left out.
struct Checked {
    /// The evidence that it keeps.
    recall: Option<f64>,
    /// The share of its last scores that falls on the document.
    share: Option<f64>,
}

fn check(case: &Case, way: &Way, loaded: &Loaded, cancel: &Cancel) -> Result<Checked> {
    let reading = ReadCase::new(case, loaded)?;
    let policy = loaded.policy(&PolicySpec::parse(&way.policy(None))?, None)?;
    // Layers of the stages before the last.
    let from = way.stages.iter().rev().nth(1).map_or(0, |stage| stage.layer() + 1);
    let (policy, share) = Overheard::new(policy, from);
    let report = alone(Box::new(policy), &reading.assembled.rows, loaded, cancel)?;
    let recall = report.and_then(|report| evidence_recall(&case.evidence, &reading.bytes_of(&report.indices)));
    let share = *share.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Checked { recall, share })
}

/// Four decimals are more than a few dozen cases say.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn measured(recalls: &[f64]) -> Result<Measured> {
    let none = || Error::new(skimlm_core::Code::Internal, "no case has evidence.");
    let stats::Mean { mean, low, high, n } = stats::mean(recalls, 0).ok_or_else(none)?;
    Ok(Measured { mean: rounded(mean), low: rounded(low), high: rounded(high), cases: n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_tells_both_kinds_apart_or_is_none() {
        let sighted = [0.9, 0.42, 0.55, 0.5, 0.38, 0.61];
        let blind = |shares: &[f64]| threshold(&sighted, shares);
        assert_eq!(blind(&[0.2, 0.31, 0.1]), Some(0.32));
        assert_eq!(blind(&[0.2, 0.4, 0.1]), Some(0.41), "one of six is read whole for it");
        assert_eq!(blind(&[0.2, 0.1, 0.1, 0.1, 0.7]), Some(0.21), "one of five is not known");
        assert_eq!(blind(&[0.6, 0.3, 0.5]), None);
        assert_eq!(blind(&[]), None);
    }
}
