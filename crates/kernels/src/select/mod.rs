//! Pooling and exact top-k, the step from scores to kept entries.
//!
//! Order: score descending, then index ascending; the answer ascends by index. NaN and infinities
//! are errors, never sorted.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use crate::error::{Error, Result, finite, invalid};
use crate::host::values;
use crate::level;

/// What a window does at the ends of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Positions outside count as 0 and the divisor stays `width` (the published code).
    Zero,
    /// Only positions inside count and the divisor is their number.
    Valid,
}

/// A pooling window over neighbouring scores. Odd widths only, so that lengths stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Average.
    Avg {
        /// Window width, odd.
        width: usize,
        /// Behaviour at the ends.
        edge: Edge,
    },
    /// Maximum; positions outside never win.
    Max {
        /// Window width, odd.
        width: usize,
    },
}

/// Smooths one row of scores. A width that is even is an error, and so is a NaN or an infinity, which it names.
pub fn pool(scores: &[f32], pool: Pool) -> Result<Vec<f32>> {
    check(pool)?;
    finite("select", scores)?;
    if crate::reference_forced() {
        return Ok(reference::pool(scores, pool));
    }
    Ok(cpu::pool(level::current(), scores, pool))
}

/// Each score as a multiple of the mean over the `width` entries around it, of those that are `open`: one flag an entry.
/// No open entry is above `width`; where nothing around is open or all is 0, the answer is 0. Scores that are negative
/// or not finite are an error, open or not.
///
/// The softmax of a query falls by orders of magnitude with distance, whatever stands there: what stands out from its
/// surroundings is told apart from what is merely near (local contrast, as in Jarrett et al., ICCV 2009, 2.1, without the
/// subtraction).
pub fn contrast(scores: &[f32], open: &[bool], width: usize) -> Result<Vec<f32>> {
    if open.len() != scores.len() {
        return invalid("contrast", format!("{} flags for {} entries", open.len(), scores.len()));
    }
    finite("select", scores)?;
    if let Some(index) = scores.iter().position(|score| *score < 0.0) {
        return invalid("contrast", format!("scores must not be negative, entry {index} is {}", scores[index]));
    }
    let around = Pool::Avg { width, edge: Edge::Valid };
    let masked: Vec<f32> = scores.iter().zip(open).map(|(&score, &open)| if open { score } else { 0.0 }).collect();
    let flags: Vec<f32> = open.iter().map(|&open| f32::from(u8::from(open))).collect();
    let (sums, counts) = (pool(&masked, around)?, pool(&flags, around)?);
    let multiple = |(&score, (sum, count)): (&f32, (f32, f32))| {
        let mean = sum / count;
        // Entries that are not open can be above all that is, without limit.
        if mean > 0.0 { (score / mean).min(width as f32) } else { 0.0 }
    };
    Ok(scores.iter().zip(sums.into_iter().zip(counts)).map(multiple).collect())
}

fn check(pool: Pool) -> Result<()> {
    match pool {
        Pool::Avg { width, .. } | Pool::Max { width } if width % 2 == 0 => {
            invalid("pool", format!("the width must be odd, got {width}"))
        }
        _ => Ok(()),
    }
}

/// The indices of the `k` largest scores, ascending. `k` beyond the length keeps all.
pub fn top_k(scores: &[f32], k: usize) -> Result<Vec<u32>> {
    if crate::reference_forced() {
        finite("select", scores)?;
        return Ok(reference::top_k(scores, k));
    }
    // The finite check costs nothing there: the keys are made in the same pass.
    cpu::top_k(level::current(), scores, k).map_err(|index| Error::NonFinite {
        op: "select",
        index,
        value: scores[index],
    })
}

/// The indices of the `k` largest scores, the largest first. `k` beyond the length keeps all.
pub fn ranked(scores: &[f32], k: usize) -> Result<Vec<u32>> {
    let mut chosen = top_k(scores, k)?;
    let score = |index: &u32| scores[*index as usize];
    // What was chosen is finite and ascends, so that equal scores stay in order.
    chosen.sort_by(|a, b| score(b).partial_cmp(&score(a)).unwrap_or(std::cmp::Ordering::Equal));
    Ok(chosen)
}

/// How a row of scores becomes a set of kept entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Smoothing before the choice.
    pub pool: Option<Pool>,
    /// How many of the candidates to keep.
    pub k: usize,
    /// Entries that are kept whatever their score and do not count towards `k`; empty, or one flag
    /// an entry.
    pub pinned: Vec<bool>,
}

/// What was kept of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Kept entries, ascending, pinned ones included.
    pub indices: Vec<u32>,
    /// The pooled score of every entry.
    pub scores: Vec<f32>,
}

/// Pools and chooses, each row of `[rows, entries]` by itself. Scores of a GPU stay there, and the choice comes back.
///
/// Who has the scores on the host calls [`pool`], [`contrast`] and [`top_k`], as policies do.
pub fn select(scores: &Tensor, choice: &Choice) -> Result<Vec<Kept>> {
    let (rows, entries) = scores.dims2()?;
    if !choice.pinned.is_empty() && choice.pinned.len() != entries {
        return invalid("select", format!("{} pins for {entries} entries", choice.pinned.len()));
    }
    if let Some(p) = choice.pool {
        check(p)?;
    }
    if rows == 0 || entries == 0 {
        return Ok(vec![Kept { indices: Vec::new(), scores: Vec::new() }; rows]);
    }
    on_gpu!(scores, |gpu| cuda::select(gpu, scores, choice));
    let all = values::<f32>("select", scores)?;
    all.chunks_exact(entries).map(|row| select_row(row, choice)).collect()
}

fn select_row(row: &[f32], choice: &Choice) -> Result<Kept> {
    let scores = match choice.pool {
        Some(p) => pool(row, p)?,
        None => finite("select", row).map(|()| row.to_vec())?,
    };
    let indices = if choice.pinned.is_empty() {
        top_k(&scores, choice.k)?
    } else {
        let free = || scores.iter().zip(&choice.pinned).filter(|(_, pinned)| !**pinned);
        let candidates: Vec<f32> = free().map(|(&score, _)| score).collect();
        let chosen = top_k(&candidates, choice.k)?;
        let mut indices = Vec::with_capacity(choice.pinned.len() - candidates.len() + chosen.len());
        let (mut chosen, mut candidate) = (chosen.into_iter().peekable(), 0);
        for (i, &pinned) in choice.pinned.iter().enumerate() {
            if pinned || chosen.next_if_eq(&candidate).is_some() {
                indices.push(i as u32);
            }
            candidate += u32::from(!pinned);
        }
        indices
    };
    Ok(Kept { indices, scores })
}
