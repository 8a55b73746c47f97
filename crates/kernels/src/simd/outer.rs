//! The register tile behind every matrix product of f32.
//!
//! `NR` broadcast rows times `MV` vectors of columns stay in registers while the depth runs. The
//! vector operand is packed, `[depth][MV]` vectors; the broadcast operand is read where it lies, so
//! keys, values and activations need no packing at all.

use std::array::from_fn;
use std::ops::Range;

use pulp::{Simd, WithSimd};

/// Vectors the widest tile is wide.
pub(crate) const WIDE: usize = 3;

/// Vectors a tile of these instructions is wide.
#[inline(always)]
pub(crate) const fn wide<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { WIDE } else { 2 }
}

/// Rows of a tile: eight rows of three vectors and four operands fill 32 registers. Of 16, six rows of two vectors
/// and three operands leave one: four rows of three vectors leave none, and the compiler, which moves operands ahead
/// of their use, then keeps a sum in memory, in the middle of its own chain of additions.
#[inline(always)]
pub(crate) const fn tall<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 6 }
}

/// A product whose rows are computed some at a time.
pub(crate) trait Tiled {
    type Simd: Simd;

    /// Computes `count` rows from `row` on, at most `NR`.
    fn tile<const NR: usize>(&self, row: usize, count: usize);
}

/// Computes the rows `rows`, in tiles as tall as they and the registers allow.
#[inline(always)]
pub(crate) fn each_tile<T: Tiled>(tiled: &T, rows: Range<usize>) {
    let mut row = rows.start;
    while row < rows.end {
        let left = rows.end - row;
        let count = left.min(tall::<T::Simd>());
        match (tall::<T::Simd>(), left) {
            (8, 5..) => tiled.tile::<8>(row, count),
            (6, 5..) => tiled.tile::<6>(row, count),
            (_, 3..) => tiled.tile::<4>(row, count),
            _ => tiled.tile::<2>(row, count),
        }
        row += count;
    }
}

/// Columns of the widest tile with these instructions.
pub(crate) fn widest(arch: super::Arch) -> usize {
    struct Widest;
    impl WithSimd for Widest {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            wide::<S>() * S::F32_LANES
        }
    }
    arch.dispatch(Widest)
}

/// Numbers in a vector of these instructions.
pub(crate) fn lanes(arch: super::Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    arch.dispatch(Lanes)
}

/// `acc[j][v] += sum over k of a[j][k * step] * b[k][v]`.
///
/// # Safety
/// Every `a[j]` must be readable at `0, step, .. (depth - 1) * step` and `b` for
/// `depth * MV * S::F32_LANES` numbers.
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) unsafe fn outer<S: Simd, const NR: usize, const MV: usize>(
    simd: S,
    mut acc: [[S::f32s; MV]; NR],
    depth: usize,
    a: [*const f32; NR],
    step: usize,
    b: *const f32,
) -> [[S::f32s; MV]; NR] {
    for k in 0..depth {
        // SAFETY: `k < depth`, and the caller vouches for that many columns and vectors.
        unsafe {
            let b: [S::f32s; MV] = from_fn(|v| b.add((k * MV + v) * S::F32_LANES).cast::<S::f32s>().read_unaligned());
            for j in 0..NR {
                let x = simd.splat_f32s(*a[j].add(k * step));
                for v in 0..MV {
                    acc[j][v] = simd.mul_add_e_f32s(x, b[v], acc[j][v]);
                }
            }
        }
    }
    acc
}
