//! Queries, keys and values as integers.

use pulp::Simd;

use super::super::tile::BLOCK;
use crate::simd::half::Stored;
use crate::simd::pairs::{MOST, Pairs, WithPairs, join, keep, magnitude, round};
use crate::simd::{Scratch, load, step, store};

/// Largest integer of a value. Times [`WEIGHTS`] it fits 32 bits.
const VALUE: f32 = 16383.0;

/// The most that a lane's integer weights of a block may add up to.
pub(super) const WEIGHTS: i32 = (1 << 17) - 1;

const _: () = assert!(16383 * WEIGHTS as i64 <= i32::MAX as i64);

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

impl<T: Stored> WithPairs for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, pairs: P) {
        let (simd, dim) = (pairs.simd(), self.dim);
        let (padded, width) = (dim.next_multiple_of(MOST), dim / T::EACH);
        let (keys, rest) = self.room.split_at_mut(BLOCK * dim / 2);
        let (values, rest) = rest.split_at_mut(BLOCK * dim / 2);
        let (key_scales, value_scales) = rest.split_at_mut(BLOCK);
        let keys: &mut [i16] = bytemuck::cast_slice_mut(keys);
        let values: &mut [i32] = bytemuck::cast_slice_mut(values);

        let wide = self.scratch.take(BLOCK * padded);
        let row = &mut wide[..padded];
        row[dim..].fill(0.0);
        for (e, k) in self.k.chunks_exact(width).enumerate() {
            T::widen(simd, k, &mut row[..dim]);
            key_scales[e] = round(pairs, row, &mut keys[e * dim..(e + 1) * dim]);
        }
        let (given, rest) = wide.split_at_mut(self.v.len() / width * padded);
        for (v, wide) in self.v.chunks_exact(width).zip(given.chunks_exact_mut(padded)) {
            T::widen(simd, v, &mut wide[..dim]);
            wide[dim..].fill(0.0);
        }
        rest.fill(0.0);
        for d in (0..dim).step_by(P::LANES) {
            let mut peak = simd.splat_u32s(0);
            for wide in wide.chunks_exact(padded) {
                peak = simd.max_u32s(peak, magnitude(simd, load::<P::Simd>(&wide[d..])));
            }
            let (mut peaks, mut inverses) = ([0f32; MOST], [0f32; MOST]);
            store::<P::Simd>(&mut peaks, simd.transmute_f32s_u32s(peak));
            let count = P::LANES.min(dim - d);
            for ((peak, inverse), scale) in peaks.iter().zip(&mut inverses).zip(&mut value_scales[d..d + count]) {
                (*scale, *inverse) = step(*peak, *peak / VALUE);
            }
            let inverse = load::<P::Simd>(&inverses);
            for (pair, to) in wide.chunks_exact(2 * padded).zip(values.chunks_exact_mut(dim)) {
                let first = pairs.nearest(simd.mul_f32s(load::<P::Simd>(&pair[d..]), inverse));
                let second = pairs.nearest(simd.mul_f32s(load::<P::Simd>(&pair[padded + d..]), inverse));
                let both = join(simd, first, second);
                if count == P::LANES {
                    keep(simd, &mut to[d..], both);
                } else {
                    simd.partial_store_i32s(&mut to[d..d + count], both);
                }
            }
        }
    }
}

/// Rounds the queries of a lane, times `factor`, into every `width`-th of `to`. Answers the scale,
/// 1 for zeros: it must not turn the logit of a hidden entry, minus infinity, into NaN.
#[inline(always)]
pub(super) fn query<P: Pairs>(
    pairs: P,
    q: &[f32],
    factor: f32,
    buffer: &mut [f32],
    to: &mut [i32],
    width: usize,
) -> f32 {
    let (row, ints) = buffer.split_at_mut(q.len().next_multiple_of(MOST));
    row[q.len()..].fill(0.0);
    for (to, &q) in row.iter_mut().zip(q) {
        *to = q * factor;
    }
    let ints: &mut [i16] = &mut bytemuck::cast_slice_mut(ints)[..q.len()];
    let scale = round(pairs, row, ints);
    for (to, pair) in to.iter_mut().step_by(width).zip(ints.chunks_exact(2)) {
        *to = i32::from(pair[1]) << 16 | i32::from(pair[0] as u16);
    }
    if scale == 0.0 { 1.0 } else { scale }
}

/// Numbers that [`query`] needs as its buffer.
pub(super) const fn buffer(dim: usize) -> usize {
    2 * dim.next_multiple_of(MOST)
}
