use candle_core::Tensor;

use super::{Form, Heads, Keys, combine};
use crate::attention::{Sizes, Visibility};
use crate::cached;
use crate::error::Result;
use crate::host::values;

/// One query and head at a time over all entries.
pub(super) fn scores(
    q: &Tensor,
    positions: &[u32],
    keys: Keys<'_>,
    scale: f32,
    form: Form,
    visibility: Visibility,
    heads: &Heads,
    sizes: Sizes,
) -> Result<Vec<f32>> {
    let Sizes { capacity, dim, .. } = sizes;
    let entries = keys.positions.len();
    let k = cached::read(keys.k)?;
    let (q, k) = (values::<f32>("scores", q)?, values::<f32>("scores", &k)?);
    let mut per_head = vec![0f32; sizes.heads * entries];
    for (r, q) in q.chunks_exact(dim).enumerate() {
        let (row, head) = (r / sizes.heads, r % sizes.heads);
        let base = head / sizes.group() * capacity;
        let seen = match form {
            Form::Raw => 0..entries,
            Form::Softmax => visibility.range(positions[row], keys.positions),
        };
        let mut given: Vec<f32> = seen
            .clone()
            .map(|e| q.iter().zip(&k[(base + e) * dim..]).map(|(a, b)| a * b).sum::<f32>() * scale)
            .collect();
        if form == Form::Softmax {
            let max = given.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            given.iter_mut().for_each(|s| *s = (*s - max).exp());
            let total: f32 = given.iter().sum();
            given.iter_mut().for_each(|s| *s /= total);
        }
        let out = &mut per_head[head * entries..(head + 1) * entries][seen];
        out.iter_mut().zip(&given).for_each(|(o, s)| *o += s);
    }
    Ok(combine(&per_head, entries, heads, sizes))
}
