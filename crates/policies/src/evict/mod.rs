//! Eviction from the cache: what counts (a [`Scorer`]), how many (a [`Share`]), when.
//!
//! Every layer attends to everything first; then each head keeps its best entries and a guarded
//! head and tail. Policies of this family are a scorer, a share and a few numbers.

mod report;
mod scorer;
mod share;

pub(crate) use scorer::{NoScore, OfKeys, RunningSums, Scorer, WindowScores};
pub(crate) use share::{Across, Even, Pyramid, Share};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{
    Among, Error, Evidence, Flow, Heads, Keep, KvCache, Pass, Policy, Report, Result, Seen, Selection, Shape, Stage,
    Step,
};
use skimlm_kernels::select::{Pool, pool, top_k};

use report::Lists;

/// Whose entries a choice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HeadMode {
    /// Each kv head chooses for itself; the query heads that read it are averaged.
    #[default]
    Kv,
    /// Each query head chooses for itself (published): the cache is stored once a query head, so it holds
    /// as many times more as query heads share a kv head.
    Query,
}

impl HeadMode {
    pub(crate) fn heads(self) -> Heads {
        match self {
            Self::Kv => Heads::EachKv,
            Self::Query => Heads::Each,
        }
    }
}

/// When entries go and what is out of the scores' reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rule {
    /// First entries that always stay.
    pub(crate) sinks: usize,
    /// Last entries that always stay.
    pub(crate) recent: usize,
    /// Smoothing of the scores between the two.
    pub(crate) pool: Option<Pool>,
    /// Evict at every generated token, not at the end of a prompt only.
    pub(crate) every_step: bool,
    /// Kept entries move to the positions 0, 1, 2, ...
    pub(crate) renumber: bool,
}

/// Refuses a budget that the `guarded` entries fill, which are `what`.
pub(crate) fn check_budget(budget: usize, guarded: usize, what: &str) -> Result<()> {
    if budget > guarded {
        return Ok(());
    }
    let expected = format!("at least {}: {what} always stays", guarded.saturating_add(1));
    Err(Error::invalid_option("policy.budget", budget, expected))
}

/// A scorer, a share and a rule: the policy of one session.
pub(crate) struct Evict<S, B> {
    scorer: S,
    share: B,
    rule: Rule,
    lists: Lists,
}

impl<S: Scorer, B: Share> Evict<S, B> {
    pub(crate) fn new(scorer: S, share: B, rule: Rule) -> Self {
        Self { scorer, share, rule, lists: Lists::default() }
    }

    /// What each head keeps of entries scored `scores`, or nothing to change.
    fn choose(&mut self, layer: usize, scores: &[Vec<f32>]) -> Result<Option<Vec<Vec<u32>>>> {
        let Rule { sinks, recent, .. } = self.rule;
        let mut candidates = Vec::with_capacity(scores.len());
        for row in scores {
            let end = row.len().saturating_sub(recent);
            let free = row.get(sinks.min(end)..end).unwrap_or_default();
            candidates.push(match self.rule.pool {
                Some(p) if !free.is_empty() => pool(free, p)?,
                _ => free.to_vec(),
            });
        }
        let counts = self.share.split(layer, &candidates)?;
        if candidates.iter().zip(&counts).all(|(free, &count)| count >= free.len()) {
            return Ok(None);
        }
        let list = |((row, free), &count): ((&Vec<f32>, &Vec<f32>), &usize)| -> Result<Vec<u32>> {
            let (first, tail) = (row.len().min(sinks) as u32, (row.len().saturating_sub(recent)) as u32);
            let best = top_k(free, count)?.into_iter().map(|i| i + first);
            Ok((0..first.min(tail)).chain(best).chain(tail..row.len() as u32).collect())
        };
        scores.iter().zip(&candidates).zip(&counts).map(list).collect::<Result<Vec<_>>>().map(Some)
    }
}

impl<S: Scorer, B: Share> Policy for Evict<S, B> {
    fn begin(&mut self, prompt: Pass, shape: &Shape) -> Result<Pass> {
        self.lists.begin(&prompt, shape);
        Ok(prompt)
    }

    fn evidence(&self, _: usize, pass: &Pass) -> Evidence {
        match pass.stage {
            Stage::Decode if !self.rule.every_step => Evidence::None,
            _ => self.scorer.evidence(),
        }
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let mut scores = self.scorer.score(&seen)?;
        let chosen = self.choose(seen.layer, &scores)?;
        if let Some(lists) = &chosen {
            for (row, list) in scores.iter_mut().zip(lists) {
                *row = list.iter().map(|&i| row[i as usize]).collect();
            }
        }
        self.scorer.carry(seen.layer, scores);
        if seen.pass.stage == Stage::Prefill {
            self.lists.note(&seen, chosen.as_deref());
        }
        let Some(mut lists) = chosen else {
            return Ok(Step::go_on());
        };
        let entries = match (lists.len(), lists.pop()) {
            (1, Some(list)) => Selection::shared(list)?,
            (_, last) => Selection::per_head(lists.into_iter().chain(last).collect())?,
        };
        let layers = seen.layer..seen.layer + 1;
        let keep = Keep { layers, entries, among: Among::Entries, renumber: self.rule.renumber };
        Ok(Step { flow: Flow::Continue, keep: vec![keep] })
    }

    fn is_steady(&self) -> bool {
        !self.rule.every_step && !self.rule.renumber
    }

    fn next_position(&self, cache: &KvCache) -> Option<u32> {
        self.rule.renumber.then(|| cache.lengths().first().map_or(0, |&n| n as u32))
    }

    fn report(&self) -> Option<Report> {
        self.lists.report(self.share.entries() + self.rule.sinks + self.rule.recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(rule: Rule, count: usize, scores: &[&[f32]]) -> Option<Vec<Vec<u32>>> {
        let scores: Vec<Vec<f32>> = scores.iter().map(|row| row.to_vec()).collect();
        Evict::new(NoScore, Even(count), rule).choose(0, &scores).unwrap()
    }

    #[test]
    fn what_is_guarded_stays_beside_the_best_between() {
        let rule = Rule { sinks: 1, recent: 2, ..Rule::default() };
        let kept = choose(rule, 2, &[&[0.0, 5.0, 1.0, 7.0, 6.0, 0.0, 0.0], &[9.0, 1.0, 1.0, 1.0, 2.0, 0.0, 0.0]]);
        assert_eq!(kept.unwrap(), [[0, 3, 4, 5, 6], [0, 1, 4, 5, 6]]);
    }

    #[test]
    fn nothing_changes_while_everything_fits() {
        let rule = Rule { sinks: 1, recent: 2, ..Rule::default() };
        assert_eq!(choose(rule, 2, &[&[1.0; 5]]), None);
        assert_eq!(choose(rule, 0, &[&[1.0; 3]]), None);
        assert_eq!(choose(rule, 0, &[&[1.0; 2]]), None, "sinks and the recent overlap");
        assert_eq!(choose(rule, 0, &[&[1.0; 4]]).unwrap(), [[0, 2, 3]]);
    }

    #[test]
    fn smoothing_does_not_see_what_is_guarded() {
        let rule = Rule { sinks: 1, recent: 1, pool: Some(Pool::Max { width: 3 }), ..Rule::default() };
        assert_eq!(choose(rule, 1, &[&[9.0, 1.0, 1.0, 2.0, 1.0, 9.0]]).unwrap(), [[0, 2, 5]]);
    }

    #[test]
    fn heads_of_different_lengths_are_cut_each_by_itself() {
        let rule = Rule { recent: 1, ..Rule::default() };
        assert_eq!(choose(rule, 2, &[&[1.0, 2.0, 3.0, 0.0], &[1.0, 0.0]]).unwrap(), [vec![1, 2, 3], vec![0, 1]]);
    }
}
