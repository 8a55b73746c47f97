use std::ops::Range;

use super::listen::Heard;

/// A query head.
pub(super) type Head = (usize, usize);

/// Heads whose scores are added.
const MOST_HEADS: usize = 3;

/// A choice of heads at one layer and the share of the document they keep, in whole sentences.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) heads: Vec<Head>,
    pub(super) keep: f64,
}

impl Choice {
    /// The layer that must have been walked.
    pub(super) fn layer(&self) -> usize {
        self.heads.iter().map(|(layer, _)| *layer).max().unwrap_or(0)
    }

    /// Which tokens of `among` it keeps.
    pub(super) fn keeps(&self, heard: &Heard, among: &[bool]) -> Vec<bool> {
        let scores = added(heard, &self.heads);
        keeps(heard, &ranked(heard, &scores, among), among, self.keep)
    }
}

/// The share of the evidence that is kept.
pub(super) fn recall(heard: &Heard, kept: &[bool]) -> f64 {
    let found = heard.evidence.iter().filter(|&&token| kept[token]).count();
    found as f64 / heard.evidence.len().max(1) as f64
}

/// The heads of the layers in `layers` that together find the evidence best, found one by one: the next head is the
/// one that helps most, until none does. `among` says for each case which tokens are left.
pub(super) fn heads(cases: &[&Heard], among: &[&[bool]], layers: std::ops::RangeInclusive<usize>, keep: f64) -> Choice {
    let width = cases.first().and_then(|case| case.scores.first()).map_or(0, Vec::len);
    let candidates: Vec<Head> = layers.flat_map(|layer| (0..width).map(move |head| (layer, head))).collect();
    let mut choice = Choice { heads: Vec::new(), keep };
    let mut best = f64::NEG_INFINITY;
    while choice.heads.len() < MOST_HEADS {
        let with = |head: Head| {
            let trial = Choice { heads: [choice.heads.as_slice(), &[head]].concat(), ..choice.clone() };
            let goodness = |(case, among): (&&Heard, &&[bool])| {
                let scores = added(case, &trial.heads);
                // At half the share, too: many heads find all that a few dozen cases hide, and some by a hair. Equal
                // recalls are told apart by how much of the scores falls on the evidence.
                let order = ranked(case, &scores, among);
                let at = |keep: f64| recall(case, &keeps(case, &order, among, keep));
                at(keep) + 0.5 * at(0.5 * keep) + 0.05 * margin(case, &scores, among)
            };
            cases.iter().zip(among).map(goodness).sum::<f64>() / cases.len().max(1) as f64
        };
        let new = candidates.iter().filter(|head| !choice.heads.contains(head));
        let Some((head, good)) = new.map(|&head| (head, with(head))).max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            break;
        };
        if good <= best + 1e-3 {
            break;
        }
        best = good;
        choice.heads.push(head);
    }
    choice
}

fn added(heard: &Heard, heads: &[Head]) -> Vec<f32> {
    let mut sum = vec![0.0; heard.len()];
    for &(layer, head) in heads {
        sum.iter_mut().zip(&heard.scores[layer][head]).for_each(|(sum, score)| *sum += score);
    }
    sum
}

/// The share of the scores that falls on the evidence.
fn margin(heard: &Heard, scores: &[f32], among: &[bool]) -> f64 {
    let on: f32 = heard.evidence.iter().map(|&token| scores[token]).sum();
    let all: f32 = scores.iter().zip(among).filter(|(_, open)| **open).map(|(score, _)| score).sum();
    f64::from(on / all.max(f32::MIN_POSITIVE))
}

/// The tokens of a sentence that are left.
fn open<'a>(sentence: &Range<usize>, among: &'a [bool]) -> impl Iterator<Item = usize> + use<'a> {
    sentence.clone().filter(|&i| among[i])
}

/// The sentences of the document in which something is left, the best first.
fn ranked<'h>(heard: &'h Heard, scores: &[f32], among: &[bool]) -> Vec<&'h Range<usize>> {
    let mean = |sentence: &Range<usize>| {
        let count = open(sentence, among).count();
        if count == 0 {
            f32::NEG_INFINITY
        } else {
            open(sentence, among).map(|i| scores[i]).sum::<f32>() / count as f32
        }
    };
    let mut order: Vec<(f32, &Range<usize>)> = heard.sentences.iter().map(|s| (mean(s), s)).collect();
    order.retain(|(mean, _)| mean.is_finite());
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    order.into_iter().map(|(_, sentence)| sentence).collect()
}

/// The first of some ranked sentences that fit a share of the prompt; what is no plain part of the document costs
/// nothing.
fn keeps(heard: &Heard, ranked: &[&Range<usize>], among: &[bool], keep: f64) -> Vec<bool> {
    let mut kept = vec![false; heard.len()];
    let mut left = (keep * heard.len() as f64).ceil() as usize;
    for sentence in ranked {
        let new = open(sentence, among).count();
        if new <= left {
            left -= new;
            open(sentence, among).for_each(|i| kept[i] = true);
        }
    }
    kept
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
        let found = heads(&[&case], &[&all], 0..=1, 4.0 / 12.0);
        assert_eq!(found.heads, [(1, 0)]);
        assert_eq!((found.layer(), recall(&case, &found.keeps(&case, &all))), (1, 1.0));
        let early = heads(&[&case], &[&all], 0..=0, 4.0 / 12.0);
        assert_eq!(early.heads[0], (0, 1));
        assert_eq!(recall(&case, &early.keeps(&case, &all)), 0.5);
    }

    #[test]
    fn sentences_are_kept_whole_and_closed_tokens_never() {
        let case = heard();
        let scores = [0.0, 3.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let kept = |among: &[bool], tokens: f64| -> Vec<usize> {
            let kept = keeps(&case, &ranked(&case, &scores, among), among, tokens / 12.0);
            (0..12).filter(|&i| kept[i]).collect()
        };
        let all = [true; 12];
        assert_eq!(kept(&all, 2.0), [4, 5]);
        assert_eq!(kept(&all, 3.0), [4, 5], "the next sentence has two tokens");
        let mut closed = all;
        (closed[0], closed[5]) = (false, false);
        assert_eq!(kept(&closed, 2.0), [1, 4], "one open token of each");
        assert_eq!(kept(&all, 0.0), Vec::<usize>::new());
    }
}
