use super::{Entries, Sizes, Visibility};
use crate::cached;
use crate::error::Result;
use crate::host::values;

/// Row by row, head by head, with the textbook softmax.
pub(super) fn attention(
    q: &candle_core::Tensor,
    positions: &[u32],
    entries: Entries<'_>,
    scale: f32,
    visibility: Visibility,
    sizes: Sizes,
) -> Result<Vec<f32>> {
    let Sizes { heads, capacity, dim, .. } = sizes;
    let (k, v) = (cached::read(entries.k)?, cached::read(entries.v)?);
    let (q, k, v) = (values::<f32>("attention", q)?, values::<f32>("attention", &k)?, values::<f32>("attention", &v)?);
    let mut out = vec![0f32; q.len()];
    for (r, (q, out)) in q.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
        let (row, head) = (r / heads, r % heads);
        let base = head / sizes.group() * capacity;
        let range = visibility.range(positions[row], entries.positions);
        let seen: Vec<usize> = range.filter(|&e| visibility.sees(positions[row], e, entries)).collect();
        let at = |values: &[f32], entry: usize, i: usize| values[(base + entry) * dim + i];
        let logits: Vec<f32> =
            seen.iter().map(|&e| (0..dim).map(|i| q[i] * at(&k, e, i)).sum::<f32>() * scale).collect();
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = logits.iter().map(|l| (l - max).exp()).collect();
        let total: f32 = weights.iter().sum();
        for (&e, w) in seen.iter().zip(&weights) {
            for (i, o) in out.iter_mut().enumerate() {
                *o += w / total * at(&v, e, i);
            }
        }
    }
    Ok(out)
}
