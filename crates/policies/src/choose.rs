//! From scores to kept tokens: pins, budget, pooling, rounding.

use candle_core::Tensor;
use skimlm_core::{Error, Result};
use skimlm_kernels::select::{self, Choice, Kept};

use crate::options::{Round, Score};

/// How many tokens a budget leaves to the scores once the pins are in.
///
/// A budget the caller named must hold the pins; the default one (`named` false) grows with them.
pub(crate) fn free_tokens(budget: usize, pinned: usize, charged: bool, named: bool) -> Result<usize> {
    match (charged, budget.checked_sub(pinned)) {
        (false, _) => Ok(budget),
        (true, Some(free)) => Ok(free),
        (true, None) if named => Err(Error::invalid_option(
            "budget",
            budget,
            format!("at least {pinned}, the number of pinned tokens (or set `pins.chargeBudget` to false)"),
        )),
        (true, None) => Ok(budget / 2),
    }
}

/// Chooses `free` unpinned tokens of one row of scores, and the pinned ones.
pub(crate) fn choose(scores: &Tensor, score: &Score, pinned: &[bool], free: usize) -> Result<Kept> {
    let pool = score.pool.map(Into::into);
    let width = match score.round {
        Round::Token => {
            let choice = Choice { pool, k: free, pinned: pinned.to_vec() };
            return one(select::select(scores, &choice)?);
        }
        Round::Chunk(width) => width,
    };
    let pooled = one(select::select(scores, &Choice { pool, k: 0, pinned: Vec::new() })?)?.scores;
    let mut keep = pinned.to_vec();
    let means: Vec<f32> = pooled.chunks(width).map(|c| c.iter().sum::<f32>() / c.len() as f32).collect();
    // The whole ranking, best first: `top_k` answers sets, and a greedy fill needs an order.
    let mut order: Vec<usize> = (0..means.len()).collect();
    order.sort_by(|&a, &b| means[b].total_cmp(&means[a]));
    let mut left = free;
    for chunk in order {
        let range = chunk * width..((chunk + 1) * width).min(pooled.len());
        let new = keep[range.clone()].iter().filter(|kept| !**kept).count();
        if new <= left {
            left -= new;
            keep[range].fill(true);
        }
    }
    if left == free && free > 0 {
        // No run fits the budget: its tokens one by one are better than none.
        return one(select::select(scores, &Choice { pool, k: free, pinned: pinned.to_vec() })?);
    }
    let indices = (0..).zip(&keep).filter(|(_, kept)| **kept).map(|(i, _)| i).collect();
    Ok(Kept { indices, scores: pooled })
}

fn one(mut rows: Vec<Kept>) -> Result<Kept> {
    rows.pop().ok_or_else(|| Error::new(skimlm_core::Code::Internal, "the layer left no scores."))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn kept(scores: &[f32], round: Round, pinned: &[usize], free: usize) -> Vec<u32> {
        let scores = Tensor::from_slice(scores, (1, scores.len()), &Device::Cpu).unwrap();
        let pinned: Vec<bool> = (0..scores.dims()[1]).map(|i| pinned.contains(&i)).collect();
        let score = Score { pool: None, round, ..Score::default() };
        choose(&scores, &score, &pinned, free).unwrap().indices
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
    fn equal_runs_go_by_the_lower_index() {
        assert_eq!(kept(&[1.0; 6], Round::Chunk(2), &[], 2), [0, 1]);
    }

    #[test]
    fn where_no_run_fits_tokens_are_kept() {
        assert_eq!(kept(&SCORES, Round::Chunk(8), &[0], 2), [0, 2, 7]);
    }

    #[test]
    fn a_named_budget_must_hold_the_pins_and_the_default_grows() {
        assert_eq!(free_tokens(10, 4, true, true).unwrap(), 6);
        assert_eq!(free_tokens(10, 4, false, true).unwrap(), 10);
        assert_eq!(free_tokens(4, 4, true, true).unwrap(), 0);
        let error = free_tokens(3, 4, true, true).unwrap_err();
        assert_eq!((error.code.as_str(), &error.details["value"]), ("ERR_INVALID_ARG", &3.into()));
        assert!(error.message.contains("at least 4"), "{error}");
        assert_eq!(free_tokens(10, 40, true, false).unwrap(), 5);
    }
}
