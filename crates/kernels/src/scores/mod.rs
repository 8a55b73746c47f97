//! Evidence: how strongly given queries ask for each cached entry, without a `rows x entries` matrix.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::{Device, Tensor};

use crate::attention::{Sizes, Visibility, check};
use crate::error::{Error, Result, finite, invalid};

/// How the scores of query heads become rows of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Heads {
    /// One row: the sum over all query heads.
    Sum,
    /// One row: the mean over all query heads.
    Mean,
    /// One row: the largest over all query heads.
    Max,
    /// One row: the weighted sum of the listed query heads. A head whose weights add up to 0 is as one that is not
    /// listed: it has no part, whatever its keys are.
    Listed(Vec<(usize, f32)>),
    /// `kv_heads` rows: the mean over the query heads of each group.
    EachKv,
    /// `query_heads` rows: each by itself.
    Each,
}

impl Heads {
    /// Rows of the answer.
    pub fn rows(&self, heads: usize, kv_heads: usize) -> usize {
        match self {
            Self::Each => heads,
            Self::EachKv => kv_heads,
            _ => 1,
        }
    }
}

/// What one query gives one entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// `scale * q.k`, for every entry alike: no mask, no softmax (GemFilter, PromptDistill).
    Raw,
    /// `softmax(scale * q.k)` over the entries the query's row sees, 0 elsewhere (SnapKV, H2O).
    Softmax,
}

/// Rotated keys of heads that share their entries.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    /// `[kv_heads, capacity, width]`, contiguous, of a type of [`crate::cached`].
    pub k: &'a Tensor,
    /// Position of each entry, strictly ascending; its length is the number of entries in use.
    pub positions: &'a [u32],
}

/// For every entry the sum over the queries of what each gives it.
///
/// Shapes: `q` `[rows, query_heads, dim]` f32, rotated; `keys` `[kv_heads, capacity, dim]`; the
/// result is `[heads.rows(..), entries]` f32 on the device of `q`. The sum over queries comes
/// first, then `heads` combines. All arithmetic is f32. With every row of a prompt as a query and
/// `Form::Softmax` these are H2O's column sums, with the last `w` rows SnapKV's window scores, with
/// the last row alone and `Form::Raw` the scores of GemFilter (`scale` 1, `Heads::Sum`). Raw scores are
/// of every entry whatever the visibility; a softmax under [`Visibility::Anchored`] is refused, since it
/// would need the tags of the entries and no method asks for it. Not on a GPU: keys of 8-bit blocks, and raw scores
/// where more than 24576 numbers of queries are multiplied with a position's keys: those of all query heads under
/// [`Heads::Each`] and [`Heads::Max`], else of one a kv head.
pub fn scores(
    q: &Tensor,
    positions: &[u32],
    keys: Keys<'_>,
    scale: f32,
    form: Form,
    visibility: Visibility,
    heads: &Heads,
) -> Result<Tensor> {
    let sizes = check("scores", q, positions, keys.k, keys.positions)?;
    if let Heads::Listed(list) = heads
        && let Some((bad, _)) = list.iter().find(|(h, _)| *h >= sizes.heads)
    {
        return invalid("scores", format!("head {bad} of {} query heads", sizes.heads));
    }
    if let (Form::Softmax, Visibility::Anchored { .. }) = (form, visibility) {
        return Err(Error::Unsupported { op: "scores", what: "softmax under anchors: keys have no tags".into() });
    }
    on_gpu!(q, |gpu| cuda::scores(gpu, q, positions, keys, scale, form, visibility, heads, sizes));
    let out = if crate::reference_forced() {
        reference::scores(q, positions, keys, scale, form, visibility, heads, sizes)?
    } else {
        cpu::scores(crate::level::current(), q, positions, keys, scale, form, visibility, heads, sizes)?
    };
    let rows = heads.rows(sizes.heads, sizes.kv_heads);
    finite("scores", &out)?;
    Ok(Tensor::from_vec(out, (rows, keys.positions.len()), q.device())?)
}

/// [`scores`] of one row of queries in [`Form::Raw`], summed over all heads, for who has numbers and no tensors.
///
/// Shapes: `q` `[query_heads, dim]`, rotated; `k` `[kv_heads, entries, dim]`; one score an entry. An error where they do not
/// make whole heads and entries, or where a score is NaN or infinite.
pub fn last_query(q: &[f32], k: &[f32], kv_heads: usize, dim: usize) -> Result<Vec<f32>> {
    let row = kv_heads.checked_mul(dim).filter(|&row| row > 0 && !q.is_empty());
    let Some(row) = row.filter(|&row| q.len().is_multiple_of(row) && k.len().is_multiple_of(row)) else {
        let (q, k) = (q.len(), k.len());
        return invalid("scores", format!("{q} query values and {k} key values for {kv_heads} kv heads of {dim}"));
    };
    let (heads, entries) = (q.len() / dim, k.len() / row);
    if crate::reference_forced() {
        let q = Tensor::from_slice(q, (1, heads, dim), &Device::Cpu)?;
        let k = Tensor::from_slice(k, (kv_heads, entries, dim), &Device::Cpu)?;
        let positions: Vec<u32> = (0..entries as u32).collect();
        let keys = Keys { k: &k, positions: &positions };
        let all = scores(&q, &[0], keys, 1.0, Form::Raw, Visibility::Causal, &Heads::Sum)?;
        return Ok(all.flatten_all()?.to_vec1()?);
    }
    let sizes = Sizes { rows: 1, heads, kv_heads, capacity: entries, dim };
    let scores = cpu::raw::scores(crate::level::current(), q, k, entries, 1.0, &Heads::Sum, sizes);
    finite("scores", &scores).map(|()| scores)
}

/// The weight of every query head where heads add up; one of weight 0 has no part, be its scores numbers or not.
fn weights(heads: &Heads, sizes: Sizes) -> Vec<f32> {
    let mut weights = vec![1.0; sizes.heads];
    match heads {
        Heads::Sum | Heads::Max | Heads::Each => {}
        Heads::Mean => weights.fill(1.0 / sizes.heads as f32),
        Heads::EachKv => weights.fill(1.0 / sizes.group() as f32),
        Heads::Listed(list) => {
            weights.fill(0.0);
            list.iter().for_each(|&(head, weight)| weights[head] += weight);
        }
    }
    weights
}

/// The kv heads of which a query head has a part.
fn asked(weights: &[f32], sizes: Sizes) -> impl Iterator<Item = bool> {
    weights.chunks_exact(sizes.group()).map(|group| group.iter().any(|weight| *weight != 0.0))
}

/// Adds per-head scores (`[query_heads, entries]`) up to the rows `heads` asks for.
pub(crate) fn combine(per_head: &[f32], entries: usize, heads: &Heads, sizes: Sizes) -> Vec<f32> {
    let mut out = vec![0f32; heads.rows(sizes.heads, sizes.kv_heads) * entries];
    let row = |h: usize| &per_head[h * entries..(h + 1) * entries];
    let mut add = |to: usize, from: usize, weight: f32| {
        let out = &mut out[to * entries..(to + 1) * entries];
        out.iter_mut().zip(row(from)).for_each(|(o, s)| *o += weight * s);
    };
    match heads {
        Heads::Each => return per_head.to_vec(),
        Heads::Sum | Heads::Mean | Heads::Listed(_) | Heads::EachKv => {
            let to = |h: usize| if *heads == Heads::EachKv { h / sizes.group() } else { 0 };
            let weights = weights(heads, sizes).into_iter().enumerate();
            weights.filter(|(_, weight)| *weight != 0.0).for_each(|(h, weight)| add(to(h), h, weight));
        }
        Heads::Max => {
            out.fill(f32::NEG_INFINITY);
            for h in 0..sizes.heads {
                // `f32::max` would drop a NaN; a comparison that keeps it lets the check above see it.
                out.iter_mut().zip(row(h)).for_each(|(o, &s)| {
                    if s.is_nan() || s > *o {
                        *o = s;
                    }
                });
            }
        }
    }
    out
}
