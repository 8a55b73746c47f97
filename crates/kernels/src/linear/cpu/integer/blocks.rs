//! What weights' blocks hold, for panels of integers of any kind.

use std::ops::Range;

use pulp::Simd;

use super::super::block::{Block, HEADS, Heads};
use crate::linear::{BlockType, Weight};

/// Whether a weight's integers are bytes with a scale for every 32.
pub(in crate::linear::cpu) fn has_bytes(weight: &Weight) -> bool {
    use BlockType::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q8_0};
    matches!(weight.dtype(), Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q4K | Q5K)
}

/// Whether a weight's parts have offsets once their integers are centred.
pub(super) fn skewed(weight: &Weight) -> bool {
    matches!(weight.dtype(), BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K)
}

/// The blocks of the first `N` weight rows of `outputs`, the last repeated where there are fewer.
pub(super) fn blocks<const N: usize>(weight: &Weight, outputs: Range<usize>) -> crate::Result<[&[u8]; N]> {
    let mut rows: [&[u8]; N] = [&[]; N];
    for (row, o) in rows.iter_mut().zip(outputs.start..) {
        let o = o.min(outputs.end - 1);
        *row = weight.blocks(o..o + 1)?;
    }
    Ok(rows)
}

/// Hands out the scale and the offset of every part of every row: `f(part, row, scale, offset)`.
#[inline(always)]
pub(super) fn heads<S: Simd, B: Block>(
    simd: S,
    rows: &[&[u8]],
    parts: usize,
    mut f: impl FnMut(usize, usize, f32, f32),
) {
    let mut heads = Heads::new();
    for first in (0..parts).step_by(HEADS) {
        let count = HEADS.min(parts - first);
        let block = first / B::PARTS;
        for (r, row) in rows.iter().enumerate() {
            heads.read::<S, B>(simd, &row[block * B::BYTES..(block + count / B::PARTS) * B::BYTES]);
            for (i, &[scale, offset]) in heads.0[..count].iter().enumerate() {
                // Centring the integers moves their middle into the offset.
                f(first + i, r, scale, scale.mul_add(f32::from(B::MIDDLE), offset));
            }
        }
    }
}
