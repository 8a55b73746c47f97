use std::ops::Range;

use candle_core::Tensor;
use half::f16;

use super::{BLOCK, Block};
use crate::error::Result;

/// The tensor library's own operations, also for GPUs.
pub(super) fn write(to: &Tensor, at: usize, x: &Tensor, heads: Range<usize>) -> Result<()> {
    let rows = x.narrow(1, heads.start, heads.len())?.to_dtype(to.dtype())?;
    Ok(to.slice_set(&rows.transpose(0, 1)?.contiguous()?, 1, at)?)
}

/// Rounds [`BLOCK`] numbers. Inlined so that `cpu` can compile the loops for better processors.
#[inline(always)]
pub(super) fn pack(x: &[f32], to: &mut Block) {
    // Of positive floats the bits are ordered as the numbers, with infinity and NaN on top.
    let peak = f32::from_bits(x.iter().fold(0, |most: u32, x| most.max(x.to_bits() & 0x7fff_ffff)));
    let scale = f16::from_f32(peak / 127.0);
    if !scale.is_finite() {
        *to = Block { scale: f16::NAN.to_le_bytes(), ints: [0; BLOCK] };
        return;
    }
    let rounded = scale.to_f32();
    // Small scales are coarse: what they cannot reach stays at the largest integer.
    let inverse = if rounded == 0.0 { 0.0 } else { 1.0 / rounded };
    to.scale = scale.to_le_bytes();
    for (to, &x) in to.ints.iter_mut().zip(x) {
        *to = (x * inverse).clamp(-127.0, 127.0).round_ties_even() as i32 as i8;
    }
}

/// The numbers of a block.
#[inline(always)]
pub(super) fn unpack(block: &Block, to: &mut [f32]) {
    let scale = f16::from_le_bytes(block.scale).to_f32();
    for (to, &int) in to.iter_mut().zip(&block.ints) {
        *to = scale * f32::from(int);
    }
}
