//! Scores for processors: one matrix-vector product for raw scores, two sweeps for softmax, one where rows are few.

pub(super) mod raw;
mod row;
mod softmax;

use candle_core::{DType, Tensor};
use half::{bf16, f16};

use super::{Form, Heads, Keys, combine};
use crate::attention::{Sizes, Visibility};
use crate::cached::{Block, Q8_0};
use crate::error::{Error, Result};
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
    match keys.k.dtype() {
        DType::F32 => typed::<f32>(level, q, positions, keys, scale, form, visibility, heads, sizes),
        DType::F16 => typed::<f16>(level, q, positions, keys, scale, form, visibility, heads, sizes),
        DType::BF16 => typed::<bf16>(level, q, positions, keys, scale, form, visibility, heads, sizes),
        Q8_0 => typed::<Block>(level, q, positions, keys, scale, form, visibility, heads, sizes),
        other => Err(Error::Unsupported { op: "scores", what: format!("keys of {other:?}") }),
    }
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
