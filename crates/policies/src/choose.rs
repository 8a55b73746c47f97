//! From scores to kept tokens: pins, budget, pooling, rounding.

use std::ops::Range;
use std::sync::Arc;

use skimlm_core::{Error, Result};
use skimlm_kernels::select::{self, Kept};

use crate::options::{Quota, Round, Score, StageSpec};
use crate::registry::Context;

/// How many tokens a budget leaves to the scores once the pins are in.
///
/// A budget the caller named, in `option`, must hold the pins; the default one grows with them.
pub(crate) fn free_tokens(budget: usize, pinned: usize, charged: bool, option: Option<&str>) -> Result<usize> {
    match (charged, budget.checked_sub(pinned), option) {
        (false, ..) => Ok(budget),
        (true, Some(free), _) => Ok(free),
        (true, None, Some(option)) => Err(Error::invalid_option(
            option,
            budget,
            format!("at least {pinned}, the number of pinned tokens (or set `policy.pins.chargeBudget` to false)"),
        )),
        (true, None, None) => Ok(budget / 2),
    }
}

/// Chooses `free` unpinned tokens of one row of scores, and the pinned ones. `runs` are the parts that are
/// kept whole, in order and without gaps; none: tokens stand for themselves.
pub(crate) fn choose(
    scores: &[f32],
    stage: &StageSpec,
    pinned: &[bool],
    free: usize,
    runs: Option<&[Range<usize>]>,
) -> Result<Kept> {
    let (n, score) = (scores.len(), &stage.score);
    if let Some(index) = scores.iter().position(|s| !s.is_finite()) {
        return Err(skimlm_kernels::Error::NonFinite { op: "select", index, value: scores[index] }.into());
    }
    let mut pooled = match score.pool {
        Some(pool) => select::pool(scores, pool.into())?,
        None => scores.to_vec(),
    };
    let mut keep = pinned.to_vec();
    keep.resize(n, false);
    if let Some(width) = score.contrast() {
        let open: Vec<bool> = keep.iter().map(|pinned| !pinned).collect();
        pooled = select::contrast(&pooled, &open, width)?;
    }
    let candidates: Vec<f32> = pooled.iter().zip(&keep).filter(|(_, kept)| !**kept).map(|(score, _)| *score).collect();
    let open = candidates.len();
    let free = stage.budget.covering(candidates.into_iter(), free).min(open);
    let mut left = free;
    let each = |quota: Quota| (free as f64 * f64::from(quota.share)) as usize / quota.spans;
    // There may be more stretches than tokens; none of them gets any then.
    if let Some((quota, each)) = score.quota.map(|quota| (quota, each(quota))).filter(|(_, each)| *each > 0) {
        for span in (0..quota.spans).map(|i| i * n / quota.spans..(i + 1) * n / quota.spans) {
            let mut own = each;
            fill(&mut keep, &pooled, span, runs, &mut own)?;
            left -= each - own;
        }
    }
    let before = left;
    fill(&mut keep, &pooled, 0..n, runs, &mut left)?;
    if left == before && left > 0 {
        // No run fits the budget: its tokens one by one are better than none.
        fill(&mut keep, &pooled, 0..n, None, &mut left)?;
    }
    let indices = (0..).zip(&keep).filter(|(_, kept)| **kept).map(|(i, _)| i).collect();
    Ok(Kept { indices, scores: pooled })
}

/// Keeps the best of `span` that fit into `left`, whole runs or tokens.
fn fill(
    keep: &mut [bool],
    scores: &[f32],
    span: Range<usize>,
    runs: Option<&[Range<usize>]>,
    left: &mut usize,
) -> Result<()> {
    let Some(runs) = runs else {
        let open: Vec<usize> = span.filter(|&i| !keep[i]).collect();
        let candidates: Vec<f32> = open.iter().map(|&i| scores[i]).collect();
        for best in select::top_k(&candidates, *left)? {
            keep[open[best as usize]] = true;
            *left -= 1;
        }
        return Ok(());
    };
    let own = runs.iter().filter(|run| span.contains(&run.start));
    let ranked = ranked(own, scores, keep);
    fill_runs(keep, &ranked, left);
    Ok(())
}

/// The runs in which a token is not kept yet, the best first: by the mean score of those that are not. A sink or a
/// question that is kept anyway buys nothing for its neighbours. Equal runs stand in the order they came in.
pub fn ranked<'r>(
    runs: impl IntoIterator<Item = &'r Range<usize>>,
    scores: &[f32],
    keep: &[bool],
) -> Vec<&'r Range<usize>> {
    let mean = |run: &Range<usize>| {
        let open = run.clone().filter(|&i| !keep[i]);
        let (sum, count) = open.fold((0.0, 0), |(sum, count), i| (sum + scores[i], count + 1));
        (count > 0).then(|| sum / count as f32)
    };
    // The whole ranking: `top_k` answers sets, and a greedy fill needs an order.
    let mut order: Vec<(f32, &Range<usize>)> = runs.into_iter().filter_map(|run| Some((mean(run)?, run))).collect();
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    order.into_iter().map(|(_, run)| run).collect()
}

/// Keeps ranked runs, each as a whole, while what is not kept yet of one fits into `left`.
pub fn fill_runs(keep: &mut [bool], ranked: &[&Range<usize>], left: &mut usize) {
    for run in ranked {
        let run = &mut keep[(*run).clone()];
        let new = run.iter().filter(|kept| !**kept).count();
        if new <= *left {
            *left -= new;
            run.fill(true);
        }
    }
}

/// The tokens that end a sentence, ascending; none where nobody asks.
pub(crate) struct Ends(Arc<[u32]>);

impl Ends {
    pub(crate) fn of<'s>(scores: impl IntoIterator<Item = &'s Score>, context: &Context<'_>) -> Self {
        let asked = scores.into_iter().any(|score| score.round == Round::Sentence);
        Self(if asked { (context.sentence_ends)() } else { Arc::from([]) })
    }

    /// The parts of a prompt that `round` keeps whole.
    pub(crate) fn runs(&self, round: Round, tokens: &[u32]) -> Option<Vec<Range<usize>>> {
        let n = tokens.len();
        match round {
            Round::Token => None,
            Round::Chunk(width) => Some((0..n).step_by(width).map(|start| start..(start + width).min(n)).collect()),
            Round::Sentence => Some(sentences(tokens, &self.0)),
        }
    }
}

/// The sentences of a prompt, in order and without gaps; tokens of `ends`, ascending, end them.
pub fn sentences(tokens: &[u32], ends: &[u32]) -> Vec<Range<usize>> {
    let mut start = 0;
    let stops = (1..=tokens.len()).filter(|&i| i == tokens.len() || ends.binary_search(&tokens[i - 1]).is_ok());
    stops.map(|stop| std::mem::replace(&mut start, stop)..stop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Budget, Limit};

    fn stage(score: Score) -> StageSpec {
        StageSpec { layer: 0, budget: Budget::Tokens(8), score }
    }

    fn kept(scores: &[f32], round: Round, pinned: &[usize], free: usize) -> Vec<u32> {
        let pinned: Vec<bool> = (0..scores.len()).map(|i| pinned.contains(&i)).collect();
        let score = Score { pool: None, round, ..Score::default() };
        // Token 1 ends a sentence.
        let tokens = [0, 1, 0, 0, 1, 0, 0, 0];
        let runs = Ends(Arc::from([1])).runs(round, &tokens[..scores.len()]);
        choose(scores, &stage(score), &pinned, free, runs.as_deref()).unwrap().indices
    }

    const SCORES: [f32; 8] = [0.0, 1.0, 9.0, 2.0, 3.0, 3.0, 0.0, 8.0];

    #[test]
    fn pins_come_on_top_of_the_free_tokens() {
        assert_eq!(kept(&SCORES, Round::Token, &[], 2), [2, 7]);
        assert_eq!(kept(&SCORES, Round::Token, &[0, 7], 2), [0, 2, 4, 7]);
        assert_eq!(kept(&SCORES, Round::Token, &[0, 7], 0), [0, 7]);
    }

    #[test]
    fn runs_are_kept_whole_in_the_order_of_their_means() {
        // Means of runs of three: 3.3, 2.7, 4.0; the last one has two tokens.
        assert_eq!(kept(&SCORES, Round::Chunk(3), &[], 2), [6, 7]);
        assert_eq!(kept(&SCORES, Round::Chunk(3), &[], 4), [6, 7], "the next run has three tokens");
        assert_eq!(kept(&SCORES, Round::Chunk(3), &[], 5), [0, 1, 2, 6, 7]);
        assert_eq!(kept(&SCORES, Round::Chunk(3), &[], 100).len(), 8);
    }

    #[test]
    fn a_run_costs_only_what_is_not_pinned_in_it() {
        assert_eq!(kept(&SCORES, Round::Chunk(3), &[0, 1], 3), [0, 1, 2, 6, 7]);
    }

    #[test]
    fn what_is_pinned_buys_nothing_for_its_run() {
        let scores = [100.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(kept(&scores, Round::Chunk(4), &[0], 4), [0, 4, 5, 6, 7]);
        assert_eq!(kept(&scores, Round::Chunk(4), &[0], 7).len(), 8);
        assert_eq!(
            kept(&SCORES, Round::Chunk(3), &[6, 7], 3),
            [0, 1, 2, 6, 7],
            "a run that is pinned as a whole is none"
        );
    }

    #[test]
    fn equal_runs_go_by_the_lower_index() {
        assert_eq!(kept(&[1.0; 6], Round::Chunk(2), &[], 2), [0, 1]);
    }

    #[test]
    fn where_no_run_fits_tokens_are_kept() {
        assert_eq!(kept(&SCORES, Round::Chunk(8), &[0], 2), [0, 2, 7]);
    }

    #[test]
    fn sentences_are_kept_whole() {
        // Sentences 0..2, 2..5 and the open 5..8, with means 0.5, 4.7 and 3.7.
        assert_eq!(kept(&SCORES, Round::Sentence, &[], 3), [2, 3, 4]);
        assert_eq!(kept(&SCORES, Round::Sentence, &[], 5), [0, 1, 2, 3, 4], "the second best has three tokens");
        assert_eq!(kept(&SCORES, Round::Sentence, &[6], 5), [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_quota_serves_every_stretch_first() {
        let with = |share, free| {
            let score = Score { pool: None, quota: Some(Quota { spans: 4, share }), ..Score::default() };
            choose(&SCORES, &stage(score), &[false; 8], free, None).unwrap().indices
        };
        assert_eq!(with(1.0, 4), [1, 2, 4, 7]);
        assert_eq!(with(0.0, 4), [2, 4, 5, 7]);
        // Half of five tokens are two, less than one a stretch: the best of all take everything.
        assert_eq!(with(0.5, 5), [2, 3, 4, 5, 7]);
        assert_eq!(with(1.0, 8).len(), 8);
        // More stretches than tokens: each would get none, and nobody waits for that.
        let score = Score { pool: None, quota: Some(Quota { spans: usize::MAX, share: 1.0 }), ..Score::default() };
        let coverage = Budget::Coverage { coverage: 1.0, min: usize::MAX, max: Limit::Tokens(usize::MAX) };
        let all = StageSpec { layer: 0, budget: coverage, score };
        assert_eq!(choose(&SCORES, &all, &[false; 8], usize::MAX, None).unwrap().indices.len(), 8);
        assert_eq!(choose(&SCORES, &all, &[false; 8], 2, None).unwrap().indices, [2, 7]);
    }

    const FALLING: [f32; 8] = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0];
    const TWO_PINNED: [bool; 8] = [true, true, false, false, false, false, false, false];

    #[test]
    fn what_a_stretch_cannot_take_goes_to_the_best_of_all() {
        let score =
            Score { pool: None, contrast: Some(0), quota: Some(Quota { spans: 4, share: 1.0 }), ..Score::default() };
        let with = |pinned| choose(&FALLING, &stage(score.clone()), pinned, 4, None).unwrap().indices;
        assert_eq!(with(&[false; 8]), [0, 2, 4, 6]);
        assert_eq!(with(&TWO_PINNED), [0, 1, 2, 3, 4, 6], "the first stretch is pinned as a whole");
    }

    #[test]
    fn a_coverage_is_a_share_of_what_is_not_pinned() {
        let score = Score { pool: None, contrast: Some(0), ..Score::default() };
        let budget = Budget::Coverage { coverage: 0.5, min: 1, max: Limit::Tokens(8) };
        let stage = StageSpec { layer: 0, budget, score };
        // Half of 27 are three of them.
        assert_eq!(choose(&FALLING, &stage, &TWO_PINNED, 6, None).unwrap().indices, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_named_budget_must_hold_the_pins_and_the_default_grows() {
        let named = |budget, pinned, charged| free_tokens(budget, pinned, charged, Some("policy.budget"));
        assert_eq!(named(10, 4, true).unwrap(), 6);
        assert_eq!(named(10, 4, false).unwrap(), 10);
        assert_eq!(named(4, 4, true).unwrap(), 0);
        let error = named(3, 4, true).unwrap_err();
        assert_eq!((error.code.as_str(), &error.details["value"]), ("ERR_INVALID_ARG", &3.into()));
        assert_eq!(error.details["option"], "policy.budget");
        assert!(error.message.contains("at least 4"), "{error}");
        assert_eq!(free_tokens(10, 40, true, None).unwrap(), 5);
    }
}
