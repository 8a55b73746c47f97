use serde_json::{Value, json};
use skimlm_core::Result;
use skimlm_policies::{POOL, WINDOW};

use super::choose::{HeadChoice, recall};
use super::cost::Cost;
use super::listen::Heard;
use super::search::{Search, Stage};

/// What stages leave, as multiples of what one alone would: an early one is generous, and the last chooses better than
/// one alone and can be stricter.
const EARLY: f64 = 2.5;
const FIRST: f64 = 1.25;
const LAST: f64 = 0.5;
/// Ways that are worth a check.
const MOST: usize = 4;

/// Stages one after the other; the last one chooses what is read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    pub(super) stages: Vec<HeadChoice>,
    /// Evidence recall on tasks that had no part in the choice of heads, the mean of that with the shares of the stages
    /// and with half of them: with all of a share many ways find all that a few dozen cases hide, and some by a hair.
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
        let score = |stage: &HeadChoice| {
            let heads: Vec<Value> =
                stage.heads.iter().map(|(layer, head)| json!({ "layer": layer, "head": head })).collect();
            json!({ "queries": { "window": WINDOW }, "softmax": true, "heads": heads, "round": "sentence",
                    "pool": { "kind": "avg", "width": POOL, "edge": "valid" } })
        };
        let (last, before) = self.stages.split_last().map_or((None, &[][..]), |(last, before)| (Some(last), before));
        let stages: Vec<Value> =
            before.iter().map(|s| json!({ "layer": s.layer(), "budget": s.budget(), "score": score(s) })).collect();
        let mut policy = json!({ "kind": "gemfilter", "stages": stages, "pins": { "chargeBudget": false } });
        if let Some(last) = last {
            policy["layer"] = last.layer().into();
            policy["budget"] = json!(last.budget());
            policy["score"] = score(last);
        }
        if let Some(share) = fallback_below {
            policy["fallbackBelow"] = share.into();
        }
        policy
    }

    /// Which tokens of a case the stages leave in the end, each keeping `part` of its share.
    pub(super) fn walk(&self, heard: &Heard, part: f64) -> Result<Vec<bool>> {
        let stage = |left: Vec<bool>, stage: &HeadChoice| {
            HeadChoice { keep: part * stage.keep, ..stage.clone() }.keeps(heard, &left)
        };
        self.stages.iter().try_fold(heard.document.clone(), stage)
    }

    /// The mean recall on some cases.
    pub(super) fn recall_on(&self, cases: &[&Heard], part: f64) -> Result<f64> {
        let of = |case: &&Heard| Ok(recall(case, &self.walk(case, part)?));
        Ok(cases.iter().map(of).sum::<Result<f64>>()? / cases.len().max(1) as f64)
    }

    /// Lets the last stage stop at a share of the scores, where the evidence is in the best of them with some to spare.
    fn stop_early(&mut self, cases: &[&Heard]) -> Result<()> {
        let all = self.recall_on(cases, 1.0)?;
        for step in 1..9 {
            let mut trial = self.clone();
            let Some(last) = trial.stages.last_mut() else { break };
            last.coverage = Some(f64::from(step) / 10.0);
            if trial.recall_on(cases, 1.0)? >= all {
                let spare = f64::from(step + 1) / 10.0;
                self.stages.iter_mut().last().into_iter().for_each(|last| last.coverage = Some(spare));
                break;
            }
        }
        Ok(())
    }
}

/// Ways of one to three stages, those that are beaten in both cost and recall left out, the cheapest first.
pub(super) fn ways(
    cases: &[&Heard],
    deepest: usize,
    keep: f64,
    cost: &Cost,
    tokens: f64,
    look: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Way>> {
    let mut search = Search::new(cases);
    let mut outlines: Vec<Vec<Stage>> = (1..=deepest).map(|layer| vec![(0..=layer, keep)]).collect();
    let (wide, narrow, last) = ((EARLY * keep).min(1.0), (FIRST * keep).min(1.0), LAST * keep);
    // The layers are looked through twice, and at most four outlines for each.
    let (total, mut done) = (6 * (deepest + 1), 0);
    let mut look = || {
        done += 1;
        look(done - 1, total)
    };
    let first = search.first_good(deepest, narrow, None, &mut look)?.unwrap_or(deepest);
    let narrowed = search.cross_validated(&[(0..=first, narrow)])?;
    let early = match first {
        0 => None,
        _ => search.first_good(first - 1, wide, Some(narrowed), &mut look)?,
    };
    for layer in first + 1..=deepest {
        outlines.push(vec![(0..=first, narrow), (first + 1..=layer, last)]);
        if let Some(early) = early {
            outlines.push(vec![(0..=early, wide), (early + 1..=layer, last)]);
            outlines.push(vec![(0..=early, wide), (early + 1..=first, narrow), (first + 1..=layer, last)]);
        }
    }
    let mut found: Vec<Way> = Vec::with_capacity(outlines.len());
    for outline in &outlines {
        look()?;
        let mut way = search.choose(None, outline)?;
        way.stop_early(cases)?;
        way.recall = search.cross_validated(outline)?;
        way.cost = cost.staged(tokens, &way.shares()) / cost.full(tokens);
        found.push(way);
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
        let way = |recall, cost, head| Way {
            stages: vec![HeadChoice { heads: vec![(1, head)], keep: 0.1, coverage: None }],
            recall,
            cost,
        };
        let looked = |ways: &[Way]| worth_a_look(ways).map(|way| way.cost).collect::<Vec<_>>();
        assert_eq!(looked(&[way(0.5, 0.1, 0), way(0.985, 0.2, 1), way(0.99, 0.3, 2), way(0.98, 0.4, 3)]), [0.2, 0.4]);
        assert_eq!(looked(&[way(0.9, 0.2, 1), way(0.9, 0.3, 1)]), [0.2], "the same heads, deeper");
        assert_eq!(looked(&[way(f64::NAN, 0.1, 0), way(0.3, 0.2, 1)]), [0.2], "nothing was heard for the first");
        assert_eq!(looked(&[]), [0.0; 0]);
    }
}
