//! Attention by the tensor library's own operations, for heads that no kernel of ours takes.
//!
//! Rows and entries go in pieces, merged by a running maximum and sum, so that neither a matrix of all rows by all
//! entries nor keys repeated for the query heads ever exist. Everything is f32. A NaN value that no row of a piece sees
//! still spoils its dimension, since its weight is a zero that is multiplied.

use candle_core::{DType, Tensor};

use super::cuda::Seen;
use super::{Entries, Sizes};
use crate::error::Result;
use crate::gpu::Gpu;

/// Rows and entries of a piece where nobody has a reason for others.
pub(super) const PIECE: (usize, usize) = (128, 2048);

/// As the contract of `attention`, in pieces of so many rows and entries; there is at least one of each.
pub(super) fn attention(
    gpu: &impl Gpu,
    q: &Tensor,
    entries: Entries<'_>,
    seen: &Seen,
    scale: f32,
    sizes: Sizes,
    (most_rows, most_entries): (usize, usize),
) -> Result<Tensor> {
    let Sizes { rows, heads, kv_heads, dim, .. } = sizes;
    let mut parts = Vec::new();
    for first in (0..rows).step_by(most_rows) {
        let count = most_rows.min(rows - first);
        let ranges = &seen.ranges[first..first + count];
        let start = ranges.iter().map(|range| range.start).min().unwrap_or(0);
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        // The query heads of a kv head stand together: [kv_heads, group * rows, dim].
        let q = q.narrow(0, first, count)?.transpose(0, 1)?.contiguous()?;
        let q = (q.reshape((kv_heads, sizes.group() * count, dim))? * f64::from(scale))?;
        let mut highest = gpu.zeros((heads, count, 1), DType::F32)?.affine(0.0, f64::NEG_INFINITY)?;
        let mut total = gpu.zeros((heads, count, 1), DType::F32)?;
        let mut sums = gpu.zeros((heads, count, dim), DType::F32)?;
        for tile in (start..end).step_by(most_entries) {
            let len = most_entries.min(end - tile);
            let of = |from: &Tensor| from.narrow(1, tile, len)?.to_dtype(DType::F32)?.contiguous();
            let logits = q.matmul(&of(entries.k)?.transpose(1, 2)?)?.reshape((heads, count, len))?;
            let visible = seen.mask(first, count, tile, len)?.broadcast_as((heads, count, len))?;
            let nothing = logits.zeros_like()?.affine(0.0, f64::NEG_INFINITY)?;
            let logits = visible.where_cond(&logits, &nothing)?;
            let top = highest.maximum(&logits.max_keepdim(2)?)?;
            // Differences stay numbers where nothing has been seen yet.
            let base = top.maximum(f64::from(f32::MIN))?;
            let shrink = (highest - &base)?.exp()?;
            let weights = logits.broadcast_sub(&base)?.exp()?;
            total = ((total * &shrink)? + weights.sum_keepdim(2)?)?;
            let weighed = weights.reshape((kv_heads, sizes.group() * count, len))?.matmul(&of(entries.v)?)?;
            sums = (sums.broadcast_mul(&shrink)? + weighed.reshape((heads, count, dim))?)?;
            highest = top;
        }
        // A row that sees nothing has sums of zero, whatever divides them.
        let seen_any = total.ne(0f32)?;
        let total = seen_any.where_cond(&total, &total.ones_like()?)?;
        parts.push(sums.broadcast_div(&total)?.transpose(0, 1)?.contiguous()?);
    }
    Ok(Tensor::cat(&parts, 0)?)
}
