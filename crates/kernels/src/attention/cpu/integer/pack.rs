//! Queries, keys and values as integers.

use pulp::{f32x16, i32x16, u32x16};

use super::super::tile::BLOCK;
use crate::simd::half::Stored;
use crate::simd::vnni::{LANES, Vnni, WithVnni};
use crate::simd::{Scratch, load};

/// Largest integer of a value. Times [`WEIGHTS`] it fits 32 bits.
const VALUE: f32 = 16383.0;

/// The most that a lane's integer weights of a block may add up to.
pub(super) const WEIGHTS: i32 = (1 << 17) - 1;

const _: () = assert!(16383 * WEIGHTS as i64 <= i32::MAX as i64);

/// Peaks below this count as zero: their inverse would overflow.
const TINY: f32 = 1e-30;

/// Numbers of a packed block.
pub(super) const fn record(dim: usize) -> usize {
    BLOCK * dim + BLOCK + dim
}

/// A packed block of [`BLOCK`] entries, of which the last may be empty.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    /// Pairs of neighbouring dimensions, `[BLOCK][dim / 2]`.
    pub(super) keys: &'a [i32],
    /// `[BLOCK]`; NaN where a number of the key is NaN or infinite.
    pub(super) key_scales: &'a [f32],
    /// Pairs of neighbouring entries, `[BLOCK / 2][dim]`; zeros for entries that do not exist.
    pub(super) values: &'a [i32],
    /// `[dim]`; NaN where a value of the block is NaN or infinite.
    pub(super) value_scales: &'a [f32],
}

impl<'a> Packed<'a> {
    pub(super) fn new(record: &'a [f32], dim: usize) -> Self {
        let (keys, rest) = record.split_at(BLOCK * dim / 2);
        let (values, rest) = rest.split_at(BLOCK * dim / 2);
        let (key_scales, value_scales) = rest.split_at(BLOCK);
        Self { keys: bytemuck::cast_slice(keys), key_scales, values: bytemuck::cast_slice(values), value_scales }
    }
}

/// Packs up to [`BLOCK`] entries into a record.
pub(super) struct Pack<'a, T> {
    pub(super) k: &'a [T],
    pub(super) v: &'a [T],
    pub(super) dim: usize,
    pub(super) room: &'a mut [f32],
    pub(super) scratch: &'a mut Scratch,
}

impl<T: Stored> WithVnni for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_vnni(self, simd: Vnni) {
        let dim = self.dim;
        let (padded, width) = (dim.next_multiple_of(LANES), dim / T::EACH);
        let (keys, rest) = self.room.split_at_mut(BLOCK * dim / 2);
        let (values, rest) = rest.split_at_mut(BLOCK * dim / 2);
        let (key_scales, value_scales) = rest.split_at_mut(BLOCK);
        let keys: &mut [i16] = bytemuck::cast_slice_mut(keys);
        let values: &mut [i32] = bytemuck::cast_slice_mut(values);

        let wide = self.scratch.take(BLOCK * padded);
        wide.fill(0.0);
        let row = &mut wide[..padded];
        for (e, k) in self.k.chunks_exact(width).enumerate() {
            T::widen(*simd, k, &mut row[..dim]);
            key_scales[e] = round(simd, row, &mut keys[e * dim..(e + 1) * dim]);
        }
        row.fill(0.0);
        for (v, wide) in self.v.chunks_exact(width).zip(wide.chunks_exact_mut(padded)) {
            T::widen(*simd, v, &mut wide[..dim]);
        }
        for d in (0..dim).step_by(LANES) {
            let mut peak = simd.splat_u32x16(0);
            for wide in wide.chunks_exact(padded) {
                peak = simd.max_u32x16(peak, magnitude(simd, load::<pulp::x86::V4>(&wide[d..])));
            }
            let peaks: [f32; LANES] = pulp::cast(peak);
            let mut inverses = [0f32; LANES];
            let count = LANES.min(dim - d);
            for ((peak, inverse), scale) in peaks.iter().zip(&mut inverses).zip(&mut value_scales[d..d + count]) {
                (*scale, *inverse) = step(*peak, *peak / VALUE);
            }
            let inverse: f32x16 = pulp::cast(inverses);
            for (pair, to) in wide.chunks_exact(2 * padded).zip(values.chunks_exact_mut(dim)) {
                let first: f32x16 = load::<pulp::x86::V4>(&pair[d..]);
                let second: f32x16 = load::<pulp::x86::V4>(&pair[padded + d..]);
                let first = simd.nearest(simd.mul_f32x16(first, inverse));
                let second = simd.nearest(simd.mul_f32x16(second, inverse));
                let first = simd.and_i32x16(first, simd.splat_i32x16(0xffff));
                let pairs: [i32; LANES] = pulp::cast(join(simd, first, second));
                to[d..d + count].copy_from_slice(&pairs[..count]);
            }
        }
    }
}

/// Lanes of two 16-bit halves; `low` has nothing above its own.
#[inline(always)]
pub(super) fn join(simd: Vnni, low: i32x16, high: i32x16) -> i32x16 {
    let high = simd.avx512f._mm512_slli_epi32::<16>(pulp::cast(high));
    pulp::cast(simd.avx512f._mm512_or_si512(pulp::cast(low), high))
}

/// The bits of the absolute values: of positive floats they are ordered as the numbers, with
/// infinity and NaN on top.
#[inline(always)]
fn magnitude(simd: Vnni, x: f32x16) -> u32x16 {
    simd.and_u32x16(pulp::cast(x), simd.splat_u32x16(0x7fff_ffff))
}

/// Scale and inverse of numbers up to `peak` that are to be multiples of `step`.
#[inline(always)]
fn step(peak: f32, step: f32) -> (f32, f32) {
    if !peak.is_finite() || !step.is_finite() {
        (f32::NAN, 0.0)
    } else if peak < TINY {
        (0.0, 0.0)
    } else {
        (step, 1.0 / step)
    }
}

/// Rounds a vector to integers and answers their scale: NaN if one of the numbers is NaN or
/// infinite, 0 if all are zero.
///
/// Their Euclidean norm stays below 2^15.5, so that the dot product of two such vectors, and any
/// part of it, fits 32 bits. `x` is padded with zeros to whole vectors, `to` is not.
#[inline(always)]
pub(super) fn round(simd: Vnni, x: &[f32], to: &mut [i16]) -> f32 {
    let mut peak = simd.splat_u32x16(0);
    for x in x.chunks_exact(LANES) {
        peak = simd.max_u32x16(peak, magnitude(simd, load::<pulp::x86::V4>(x)));
    }
    let peak = f32::from_bits(simd.avx512f._mm512_reduce_max_epu32(pulp::cast(peak)));
    // Relative to the peak: squares of large numbers would overflow.
    let inverse = simd.splat_f32x16(step(peak, peak).1);
    let mut squares = simd.splat_f32x16(0.0);
    for x in x.chunks_exact(LANES) {
        let x = simd.mul_f32x16(load::<pulp::x86::V4>(x), inverse);
        squares = simd.mul_add_f32x16(x, x, squares);
    }
    let norm = simd.avx512f._mm512_reduce_add_ps(pulp::cast(squares)).sqrt();
    // Rounding moves each number by half at most, the norm by half the root of their count.
    let reach = 46_339.0 - 0.5 * (to.len() as f32).sqrt();
    let (scale, inverse) = step(peak, peak * (norm / reach).max(1.0 / 32767.0));
    let inverse = simd.splat_f32x16(inverse);
    for (x, to) in x.chunks_exact(LANES).zip(to.chunks_mut(LANES)) {
        let ints = simd.narrow(simd.nearest(simd.mul_f32x16(load::<pulp::x86::V4>(x), inverse)));
        let count = to.len();
        to.copy_from_slice(&ints[..count]);
    }
    scale
}

/// Rounds the queries of a lane, times `factor`, into every `width`-th of `pairs`. Answers the scale,
/// 1 for zeros: it must not turn the logit of a hidden entry, minus infinity, into NaN.
#[inline(always)]
pub(super) fn query(simd: Vnni, q: &[f32], factor: f32, buffer: &mut [f32], pairs: &mut [i32], width: usize) -> f32 {
    let (row, ints) = buffer.split_at_mut(q.len().next_multiple_of(LANES));
    row[q.len()..].fill(0.0);
    for (to, &q) in row.iter_mut().zip(q) {
        *to = q * factor;
    }
    let ints: &mut [i16] = &mut bytemuck::cast_slice_mut(ints)[..q.len()];
    let scale = round(simd, row, ints);
    for (to, pair) in pairs.iter_mut().step_by(width).zip(ints.chunks_exact(2)) {
        *to = i32::from(pair[1]) << 16 | i32::from(pair[0] as u16);
    }
    if scale == 0.0 { 1.0 } else { scale }
}

/// Numbers that [`query`] needs as its buffer.
pub(super) const fn buffer(dim: usize) -> usize {
    2 * dim.next_multiple_of(LANES)
}
