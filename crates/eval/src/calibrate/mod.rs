//! Calibration: which heads of the early layers find evidence on a model, and how far down that is.
//!
//! Every head of the layers up to 0.55 of the depth scores some cases with hidden facts; heads, layers and stages are
//! chosen by the recall they would have had, cross-validated over tasks; the best ways by cost and recall are then
//! run as policies on new cases, which gives the recall that the profile states.

mod choose;
mod cost;
mod listen;
mod way;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Result, Rows};
use skimlm_engine::{Cancel, Control, DEFAULT_CHUNK, Loaded, Session};
use skimlm_policies::{Calibration, Context, Measured, ModelKey, PolicySpec, Profile, Setting};

use crate::run::haystack;
use crate::run::prompt::Reading;
use crate::{Case, Haystack, Recipe, Split, evidence_recall, stats, task};
use cost::Cost;
use listen::{Heard, listen};
use way::{Outline, Way, choose, cross_validated};

/// Tasks whose evidence is known.
const TASKS: [&str; 6] = ["needle", "paraphrase", "multikey", "multivalue", "multiquery", "twohop"];
/// Tasks that need all of the text: a question like theirs finds nothing in particular.
const WHOLE: [&str; 2] = ["common", "frequent"];
/// The deepest layer that listens, as a share of the depth.
const DEEPEST: f64 = 0.55;
/// The share of the document that is read in the end.
const KEEP: f64 = 0.2;
/// The share that a first stage leaves, in runs of so many tokens.
const FIRST: (f64, usize) = (0.25, 32);
/// Settings of a profile.
const MOST_SETTINGS: usize = 4;
/// The length that costs are stated for, if the model can read it.
const COST_TOKENS: usize = 8000;

/// What to calibrate on.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Prompts of fewer tokens shall be read whole.
    #[serde(default = "exact_below")]
    pub exact_below: usize,
}

fn lengths() -> Vec<usize> {
    vec![1000, 2000]
}

fn cases() -> usize {
    3
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
    if plan.cases == 0 || plan.lengths.is_empty() || deepest == 0 {
        return Err(Error::invalid_option(
            "cases",
            plan.cases,
            "at least one, of at least one length, on three layers",
        ));
    }
    let text = haystack(&plan.text)?;
    let made = |tasks: &[&str], seed: u64, split| cases_of(plan, &text, loaded, tasks, seed, split);
    let sighted = made(&TASKS, plan.seed, Split::Calibration)?;
    let blind = made(&WHOLE, plan.seed, Split::Calibration)?;
    let total = sighted.len() + blind.len();
    let mut heard = Vec::with_capacity(total);
    for (done, case) in sighted.iter().chain(&blind).enumerate() {
        progress(CalibrationProgress { phase: "listen", done, total });
        heard.push(listen(case, loaded, deepest, cancel)?);
    }
    let (with_evidence, without) = heard.split_at(sighted.len());
    let with_evidence: Vec<&Heard> = with_evidence.iter().collect();
    let cost = Cost::new(shape, loaded.info.file.parameters.saturating_sub((shape.vocab * shape.hidden) as u64));
    let mut look = |done, total| {
        progress(CalibrationProgress { phase: "choose", done, total });
        cancel.check()
    };
    let ways = ways(&with_evidence, deepest, &cost, COST_TOKENS.min(shape.max_positions) as f64, &mut look)?;
    let fresh = made(&TASKS, plan.seed + (plan.cases * plan.lengths.len()) as u64, Split::Calibration)?;
    let total = ways.len() * fresh.len();
    let mut settings = Vec::with_capacity(ways.len());
    for (i, way) in ways.iter().enumerate() {
        let policy = way.policy(threshold(way, &with_evidence, without));
        let mut recalls = Vec::with_capacity(fresh.len());
        for (j, case) in fresh.iter().enumerate() {
            progress(CalibrationProgress { phase: "check", done: i * fresh.len() + j, total });
            recalls.extend(recall(case, &policy, loaded, cancel)?);
        }
        settings.push(Setting {
            name: way.stages.iter().map(|stage| stage.layer().to_string()).collect::<Vec<_>>().join("-"),
            policy,
            recall: measured(&recalls)?,
            cost: rounded(way.cost),
        });
    }
    // What cross-validation promised and the check did not keep.
    let mut best = f64::NEG_INFINITY;
    settings.retain(|setting: &Setting| {
        let better = setting.recall.mean > best;
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

fn cases_of(
    plan: &CalibrationPlan,
    text: &Haystack,
    loaded: &Loaded,
    tasks: &[&str],
    seed: u64,
    split: Split,
) -> Result<Vec<Case>> {
    let count = |text: &str| loaded.tokenizer.encode(text, false).map_or(usize::MAX, |ids| ids.len());
    let mut cases = Vec::new();
    for name in tasks {
        for (l, &tokens) in plan.lengths.iter().enumerate() {
            for i in 0..plan.cases {
                let depth = (i as f32 + 0.5) / plan.cases as f32;
                let seed = seed + (l * plan.cases + i) as u64;
                cases.push(task(name)?.make(text, &Recipe { tokens, seed, depth, split }, &count)?);
            }
        }
    }
    Ok(cases)
}

/// Ways of one and of two stages, those that are beaten in both cost and recall left out, the cheapest first.
fn ways(
    cases: &[&Heard],
    deepest: usize,
    cost: &Cost,
    tokens: f64,
    look: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Way>> {
    let mut found: Vec<Way> = Vec::new();
    let mut add = |outline: &Outline| {
        let way = Way { recall: cross_validated(cases, outline), ..choose(cases, outline) };
        let cost = cost.staged(tokens, &way.shares()) / cost.full(tokens);
        found.push(Way { cost, ..way.clone() });
        way
    };
    let mut firsts: Vec<(usize, f64)> = Vec::new();
    for layer in 1..=deepest {
        look(layer - 1, 2 * deepest)?;
        let one = add(&[(0..=layer, KEEP, 1)]);
        // Where a deeper layer adds nothing, the way ends as high as before.
        if one.stages[0].layer() == layer {
            firsts.push((layer, cross_validated(cases, &[(0..=layer, FIRST.0, FIRST.1)])));
        }
    }
    let best = firsts.iter().map(|(_, recall)| *recall).fold(0.0, f64::max);
    let first = firsts.iter().find(|(_, recall)| *recall >= best - 0.02).map_or(deepest, |(layer, _)| *layer);
    for layer in first + 1..=deepest {
        look(deepest + layer - 1, 2 * deepest)?;
        add(&[(0..=first, FIRST.0, FIRST.1), (first + 1..=layer, KEEP, 1)]);
    }
    found.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let mut best = 0.0;
    found.retain(|way| {
        way.recall > best + 0.005 && (0.0..).contains(&way.recall) && {
            best = way.recall;
            true
        }
    });
    // The dearest find most; of the cheap ones those that miss much serve nobody.
    let surplus = found.len().saturating_sub(MOST_SETTINGS);
    Ok(found.split_off(surplus))
}

/// The share of the scores on the document that tells questions about something from those about everything: midway
/// between the two, if they can be told apart at all.
fn threshold(way: &Way, sighted: &[&Heard], blind: &[Heard]) -> Option<f64> {
    let last = way.stages.last()?;
    let share = |heard: &Heard| {
        let left = way.walk(heard);
        last.share(heard, &left[left.len() - 2])
    };
    let mut on: Vec<f64> = sighted.iter().map(|heard| share(heard)).collect();
    let mut off: Vec<f64> = blind.iter().map(share).collect();
    on.sort_by(f64::total_cmp);
    off.sort_by(f64::total_cmp);
    let (low, high) = (*on.get(on.len() / 20)?, *off.get(off.len() - 1 - off.len() / 10)?);
    (low > high).then(|| (50.0 * (low + high)).round() / 100.0)
}

/// The evidence that a policy keeps of a case; none where it went back to the whole prompt.
fn recall(case: &Case, policy: &serde_json::Value, loaded: &Loaded, cancel: &Cancel) -> Result<Option<f64>> {
    let reading = Reading::new(case, loaded)?;
    let context = Context {
        sentence_ends: &|| loaded.tokenizer.sentence_ends(),
        ..Context::new(loaded.model.shape(), loaded.info.file.default_filter_layer)
    };
    let spec = PolicySpec::parse(policy)?;
    spec.check(&context)?;
    let mut session = Session::new(&*loaded.model, spec.build(&context)?, loaded.dtype)?;
    let rows: Rows = reading.assembled.rows.clone();
    let mut control = Control { cancel, progress: &mut |_| {}, chunk: DEFAULT_CHUNK, headroom: 0 };
    let report = session.select(rows, &mut control)?;
    Ok(report.and_then(|report| evidence_recall(&case.evidence, &reading.bytes_of(&report.indices))))
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
