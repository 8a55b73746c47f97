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
    let indices = (0..).zip(&keep).filter(|(_, kept)| **kept).map(|(i, _)| i).collect();
    Ok(Kept { indices, scores: pooled })
}

fn one(mut rows: Vec<Kept>) -> Result<Kept> {
    rows.pop().ok_or_else(|| Error::new(skimlm_core::Code::Internal, "the layer left no scores."))
}
