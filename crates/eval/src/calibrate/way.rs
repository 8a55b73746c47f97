use serde_json::{Value, json};
use skimlm_core::Result;

use super::choose::{Choice, heads, recall};
use super::cost::Cost;
use super::listen::{Heard, POOL, WINDOW};

/// What two stages leave, as multiples of what one alone would: the second chooses better and can be stricter.
const TWO: (f64, f64) = (1.25, 0.5);
/// Ways that are worth a check.
const MOST: usize = 4;

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
type Outline = [(std::ops::RangeInclusive<usize>, f64)];

/// Chooses the heads of every stage on some cases.
fn choose(cases: &[&Heard], outline: &Outline) -> Way {
    let mut way = Way { stages: Vec::new(), recall: 0.0, cost: 0.0 };
    for (layers, keep) in outline {
        let left: Vec<Vec<bool>> = cases.iter().filter_map(|case| way.walk(case).pop()).collect();
        let among: Vec<&[bool]> = left.iter().map(Vec::as_slice).collect();
        way.stages.push(heads(cases, &among, layers.clone(), *keep));
    }
    way
}

/// The mean over tasks of the recall on each when the heads were chosen on all others.
fn cross_validated(cases: &[&Heard], outline: &Outline) -> f64 {
    let mut tasks: Vec<&str> = cases.iter().map(|case| case.task.as_str()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let on = |task: &&str| {
        let (held_out, chosen_on): (Vec<&Heard>, Vec<&Heard>) = cases.iter().partition(|case| case.task == *task);
        choose(&chosen_on, outline).recall_on(&held_out)
    };
    tasks.iter().map(on).sum::<f64>() / tasks.len().max(1) as f64
}

/// Ways of one and of two stages, those that are beaten in both cost and recall left out, the cheapest first.
pub(super) fn ways(
    cases: &[&Heard],
    deepest: usize,
    keep: f64,
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
    let (first_keep, second_keep) = ((TWO.0 * keep).min(1.0), TWO.1 * keep);
    let mut firsts: Vec<(usize, f64)> = Vec::new();
    for layer in 1..=deepest {
        look(layer - 1, 2 * deepest)?;
        let one = add(&[(0..=layer, keep)]);
        // Where a deeper layer adds nothing, the way ends as high as before.
        if one.stages[0].layer() == layer {
            firsts.push((layer, cross_validated(cases, &[(0..=layer, first_keep)])));
        }
    }
    let best = firsts.iter().map(|(_, recall)| *recall).fold(0.0, f64::max);
    let first = firsts.iter().find(|(_, recall)| *recall >= best - 0.05).map_or(deepest, |(layer, _)| *layer);
    for layer in first + 1..=deepest {
        look(deepest + layer - 1, 2 * deepest)?;
        add(&[(0..=first, first_keep), (first + 1..=layer, second_keep)]);
    }
    found.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let twice: Vec<Way> = found.iter().filter(|way| way.stages.len() > 1).cloned().collect();
    let mut best = 0.0;
    found.retain(|way| {
        way.recall > best + 0.005 && (0.0..).contains(&way.recall) && {
            best = way.recall;
            true
        }
    });
    // The dearest find most; of the cheap ones those that miss much serve nobody.
    let surplus = found.len().saturating_sub(MOST);
    let mut kept = found.split_off(surplus);
    // Whoever has looked twice can often tell a question that finds nothing in particular, which only the check shows.
    for way in worth_a_look(&twice) {
        if !kept.iter().any(|known| known.stages == way.stages) {
            kept.insert(kept.partition_point(|known| known.cost < way.cost), way.clone());
        }
    }
    Ok(kept)
}

/// Of ways in the order of their cost the first and the last that find nearly what the best of them finds.
fn worth_a_look(ways: &[Way]) -> impl Iterator<Item = &Way> {
    let best = ways.iter().map(|way| way.recall).fold(0.0, f64::max);
    let good = move |way: &&Way| way.recall >= best - 0.01;
    let (first, last) = (ways.iter().find(good), ways.iter().rfind(good));
    first.into_iter().chain(last.filter(|last| first.is_none_or(|first| first.stages != last.stages)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_and_the_deepest_of_the_best_are_worth_a_look() {
        let way = |recall, cost, head| Way { stages: vec![Choice { heads: vec![(1, head)], keep: 0.1 }], recall, cost };
        let looked = |ways: &[Way]| worth_a_look(ways).map(|way| way.cost).collect::<Vec<_>>();
        assert_eq!(looked(&[way(0.5, 0.1, 0), way(0.985, 0.2, 1), way(0.99, 0.3, 2), way(0.98, 0.4, 3)]), [0.2, 0.4]);
        assert_eq!(looked(&[way(0.9, 0.2, 1), way(0.9, 0.3, 1)]), [0.2], "the same heads, deeper");
        assert_eq!(looked(&[way(f64::NAN, 0.1, 0), way(0.3, 0.2, 1)]), [0.2], "nothing was heard for the first");
        assert_eq!(looked(&[]), [0.0; 0]);
    }
}
