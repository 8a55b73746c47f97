use serde_json::{Value, json};

use super::choose::{Choice, heads, recall};
use super::listen::{Heard, POOL, WINDOW};

/// Stages one after the other; the last one chooses what is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    pub(super) stages: Vec<Choice>,
    /// Evidence recall on tasks that had no part in the choice of heads.
    pub(super) recall: f64,
    /// Operations as a share of full attention's.
    pub(super) cost: f64,
}

impl Way {
    /// Layers and shares, for the cost.
    pub(super) fn shares(&self) -> Vec<(usize, f64)> {
        self.stages.iter().map(|stage| (stage.layer(), stage.keep)).collect()
    }

    /// A GemFilter policy.
    pub(super) fn policy(&self, fallback_below: Option<f64>) -> Value {
        let score = |stage: &Choice| {
            let heads: Vec<Value> =
                stage.heads.iter().map(|(layer, head)| json!({ "layer": layer, "head": head })).collect();
            json!({ "queries": { "window": WINDOW }, "softmax": true, "heads": heads, "round": "sentence",
                    "pool": { "kind": "avg", "width": POOL, "edge": "valid" } })
        };
        let (last, before) = self.stages.split_last().map_or((None, &[][..]), |(last, before)| (Some(last), before));
        let stages: Vec<Value> = before
            .iter()
            .map(|s| json!({ "layer": s.layer(), "budget": { "ratio": s.keep }, "score": score(s) }))
            .collect();
        let mut policy = json!({ "kind": "gemfilter", "stages": stages, "pins": { "chargeBudget": false } });
        if let Some(last) = last {
            policy["layer"] = last.layer().into();
            policy["budget"] = json!({ "ratio": last.keep });
            policy["score"] = score(last);
        }
        if let Some(share) = fallback_below {
            policy["fallbackBelow"] = share.into();
        }
        policy
    }

    /// Which tokens of a case each stage leaves to the next, the document first.
    pub(super) fn walk(&self, heard: &Heard) -> Vec<Vec<bool>> {
        let mut left = vec![heard.document.clone()];
        for stage in &self.stages {
            let among = left.last().map_or(&[][..], Vec::as_slice);
            let kept = stage.keeps(heard, among);
            left.push(kept);
        }
        left
    }

    /// The mean recall on some cases.
    pub(super) fn recall_on(&self, cases: &[&Heard]) -> f64 {
        let of = |case: &&Heard| self.walk(case).last().map_or(1.0, |kept| recall(case, kept));
        cases.iter().map(of).sum::<f64>() / cases.len().max(1) as f64
    }
}

/// What stages there shall be: the layers that may be listened to, and the share kept.
pub(super) type Outline = [(std::ops::RangeInclusive<usize>, f64)];

/// Chooses the heads of every stage on some cases.
pub(super) fn choose(cases: &[&Heard], outline: &Outline) -> Way {
    let mut way = Way { stages: Vec::new(), recall: 0.0, cost: 0.0 };
    for (layers, keep) in outline {
        let left: Vec<Vec<bool>> = cases.iter().filter_map(|case| way.walk(case).pop()).collect();
        let among: Vec<&[bool]> = left.iter().map(Vec::as_slice).collect();
        way.stages.push(heads(cases, &among, layers.clone(), *keep));
    }
    way
}

/// The mean over tasks of the recall on each when the heads were chosen on all others.
pub(super) fn cross_validated(cases: &[&Heard], outline: &Outline) -> f64 {
    let mut tasks: Vec<&str> = cases.iter().map(|case| case.task.as_str()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let on = |task: &&str| {
        let (held_out, chosen_on): (Vec<&Heard>, Vec<&Heard>) = cases.iter().partition(|case| case.task == *task);
        choose(&chosen_on, outline).recall_on(&held_out)
    };
    tasks.iter().map(on).sum::<f64>() / tasks.len().max(1) as f64
}
