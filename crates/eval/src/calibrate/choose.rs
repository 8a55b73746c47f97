use std::ops::{Range, RangeInclusive};

use rayon::prelude::*;
use skimlm_core::Result;
use skimlm_kernels::select::contrast;
use skimlm_policies::{Budget, CONTRAST, Limit, fill_runs, ranked};

use super::listen::Heard;

/// A query head.
pub(super) type Head = (usize, usize);

/// Heads whose scores are added.
const MOST_HEADS: usize = 3;

/// A choice of heads at one layer and what they keep of the document, in whole sentences.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeadChoice {
    pub(super) heads: Vec<Head>,
    /// The share of the prompt, at most.
    pub(super) keep: f64,
    /// The share of the scores that is enough.
    pub(super) coverage: Option<f64>,
}

impl HeadChoice {
    /// The layer that must have been walked.
    pub(super) fn layer(&self) -> usize {
        self.heads.iter().map(|(layer, _)| *layer).max().unwrap_or(0)
    }

    /// What it keeps, as policies say it.
    pub(super) fn budget(&self) -> Budget {
        let ratio = self.keep;
        match self.coverage {
            Some(coverage) => Budget::Coverage { coverage, min: 1, max: Limit::Share { ratio } },
            None => Budget::Share { ratio },
        }
    }

    /// Which tokens of `among` it keeps.
    pub(super) fn keeps(&self, heard: &Heard, among: &[bool]) -> Result<Vec<bool>> {
        let scores = scored(heard, &self.heads, among)?;
        let candidates = scores.iter().zip(among).filter(|(_, open)| **open).map(|(score, _)| *score);
        let budget = self.budget();
        let left = budget.covering(candidates, budget.of(heard.len()));
        let order = ranked(&heard.sentences, &scores, &closed(among));
        Ok(keeps(&order, among, left))
    }
}

/// The share of the evidence that is kept.
pub(super) fn recall(heard: &Heard, kept: &[bool]) -> f64 {
    let found = heard.evidence.iter().filter(|&&token| kept[token]).count();
    found as f64 / heard.evidence.len().max(1) as f64
}

/// The heads of the layers in `layers` that together find the evidence best, found one by one: the next head is the
/// one that helps most, until none does. `among` says for each case which tokens are left.
pub(super) fn heads(
    cases: &[&Heard],
    among: &[Vec<bool>],
    layers: RangeInclusive<usize>,
    keep: f64,
) -> Result<HeadChoice> {
    let width = cases.first().and_then(|case| case.scores.first()).map_or(0, Vec::len);
    let candidates: Vec<Head> = layers.flat_map(|layer| (0..width).map(move |head| (layer, head))).collect();
    let mut choice = HeadChoice { heads: Vec::new(), keep, coverage: None };
    let mut best = f64::NEG_INFINITY;
    while choice.heads.len() < MOST_HEADS {
        let with = |&head: &Head| {
            let heads = [choice.heads.as_slice(), &[head]].concat();
            let goodness = |(case, among): (&&Heard, &Vec<bool>)| {
                let scores = scored(case, &heads, among)?;
                // At half the share, too: many heads find all that a few dozen cases hide, and some by a hair. Equal
                // recalls are told apart by how much of the scores falls on the evidence.
                let order = ranked(&case.sentences, &scores, &closed(among));
                let at = |keep: f64| recall(case, &keeps(&order, among, tokens(case, keep)));
                Ok(at(keep) + 0.5 * at(0.5 * keep) + 0.05 * margin(case, &scores, among))
            };
            let sum = cases.iter().zip(among).map(goodness).sum::<Result<f64>>()?;
            Ok((head, sum / cases.len().max(1) as f64))
        };
        let new = candidates.par_iter().filter(|head| !choice.heads.contains(head));
        let tried = new.map(with).collect::<Result<Vec<_>>>()?;
        let Some((head, good)) = tried.into_iter().max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            break;
        };
        if good <= best + 1e-3 {
            break;
        }
        best = good;
        choice.heads.push(head);
    }
    Ok(choice)
}

/// What some heads say of every token that is left, beside its surroundings: those that are left, which close up.
fn scored(heard: &Heard, heads: &[Head], among: &[bool]) -> Result<Vec<f32>> {
    let left: Vec<usize> = (0..heard.len()).filter(|&token| among[token]).collect();
    let sum = |&token: &usize| heads.iter().map(|&(layer, head)| heard.scores[layer][head][token]).sum();
    let seen = contrast(&left.iter().map(sum).collect::<Vec<f32>>(), &vec![true; left.len()], CONTRAST)?;
    let mut scores = vec![0.0; heard.len()];
    left.into_iter().zip(seen).for_each(|(token, score)| scores[token] = score);
    Ok(scores)
}

fn tokens(heard: &Heard, keep: f64) -> usize {
    Budget::Share { ratio: keep }.of(heard.len())
}

/// The share of the scores that falls on the evidence.
fn margin(heard: &Heard, scores: &[f32], among: &[bool]) -> f64 {
    let on: f32 = heard.evidence.iter().map(|&token| scores[token]).sum();
    let all: f32 = scores.iter().zip(among).filter(|(_, open)| **open).map(|(score, _)| score).sum();
    f64::from(on / all.max(f32::MIN_POSITIVE))
}

/// The tokens that are not left: what is no plain part of the document costs nothing.
fn closed(among: &[bool]) -> Vec<bool> {
    among.iter().map(|open| !open).collect()
}

/// The tokens of `among` in the first of some ranked sentences that fit `left` tokens.
fn keeps(ranked: &[&Range<usize>], among: &[bool], mut left: usize) -> Vec<bool> {
    let mut kept = closed(among);
    fill_runs(&mut kept, ranked, &mut left);
    kept.iter().zip(among).map(|(kept, open)| *kept && *open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Head (1, 0) sees the evidence, head (0, 1) half of it, the others look elsewhere. Sentences of two tokens.
    fn heard() -> Heard {
        let at = |tokens: &[usize]| (0..12).map(|i| if tokens.contains(&i) { 1.0 } else { 0.1 }).collect::<Vec<f32>>();
        Heard {
            task: "needle".into(),
            evidence: vec![4, 5, 6, 7],
            document: vec![true; 12],
            sentences: (0..6).map(|i| 2 * i..2 * i + 2).collect(),
            scores: vec![vec![at(&[0, 1]), at(&[4, 5, 10, 11])], vec![at(&[4, 5, 6, 7]), at(&[9])]],
        }
    }

    #[test]
    fn the_heads_that_see_the_evidence_are_found() {
        let case = heard();
        let all = vec![true; 12];
        let found = heads(&[&case], std::slice::from_ref(&all), 0..=1, 4.0 / 12.0).unwrap();
        assert_eq!(found.heads, [(1, 0)]);
        assert_eq!((found.layer(), recall(&case, &found.keeps(&case, &all).unwrap())), (1, 1.0));
        let early = heads(&[&case], std::slice::from_ref(&all), 0..=0, 4.0 / 12.0).unwrap();
        assert_eq!(early.heads[0], (0, 1));
        assert_eq!(recall(&case, &early.keeps(&case, &all).unwrap()), 0.5);
        // Two of the four tokens that stand out hold half of the scores.
        let half = HeadChoice { coverage: Some(0.4), ..found };
        assert_eq!(recall(&case, &half.keeps(&case, &all).unwrap()), 0.5);
    }

    #[test]
    fn sentences_are_kept_whole_and_closed_tokens_never() {
        let case = heard();
        let scores = [0.0, 3.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let kept = |among: &[bool], tokens: usize| -> Vec<usize> {
            let kept = keeps(&ranked(&case.sentences, &scores, &closed(among)), among, tokens);
            (0..12).filter(|&i| kept[i]).collect()
        };
        let all = [true; 12];
        assert_eq!(kept(&all, 2), [4, 5]);
        assert_eq!(kept(&all, 3), [4, 5], "the next sentence has two tokens");
        let mut closed = all;
        (closed[0], closed[5]) = (false, false);
        assert_eq!(kept(&closed, 2), [1, 4], "one open token of each");
        assert_eq!(kept(&all, 0), Vec::<usize>::new());
    }
}
