//! Scores for processors: one matrix-vector product for raw scores, two sweeps for softmax, one where rows are few.

pub(super) mod raw;
mod row;
mod softmax;

use candle_core::Tensor;

use super::{Form, Heads, Keys, combine};
use crate::attention::{Sizes, Visibility};
use crate::error::Result;
use crate::host::values;
use crate::level::Level;
use crate::simd::half::Stored;

pub(super) fn scores(
    level: Level,
    q: &Tensor,
    positions: &[u32],
    keys: Keys<'_>,
    scale: f32,
    form: Form,
    visibility: Visibility,
    heads: &Heads,
    sizes: Sizes,
) -> Result<Vec<f32>> {
    stored!("scores", keys.k.dtype(), T => typed::<T>(level, q, positions, keys, scale, form, visibility, heads, sizes))
}

fn typed<T: Stored>(
    level: Level,
    q: &Tensor,
    positions: &[u32],
    keys: Keys<'_>,
    scale: f32,
    form: Form,
    visibility: Visibility,
    heads: &Heads,
    sizes: Sizes,
) -> Result<Vec<f32>> {
    let (q, k) = (values::<f32>("scores", q)?, values::<T::Raw>("scores", keys.k)?);
    let k = T::of(&k);
    let entries = keys.positions.len();
    if form == Form::Raw {
        return Ok(raw::scores(level, &q, k, entries, scale, heads, sizes));
    }
    let seen = positions.iter().map(|&p| visibility.range(p, keys.positions)).collect();
    let per_head = softmax::column_sums(level, &q, k, entries, scale, seen, sizes);
    Ok(combine(&per_head, entries, heads, sizes))
}
