//! Weights' integers as vectors over the outputs.

use pulp::i16x16;
use pulp::x86::V3;

use super::super::block::{Block, PART};
use crate::simd::pairs::{COLUMNS, Halves, MOST, Packing, Pairs, Quarters};

/// A packing of the 32 integers of a part.
pub(super) trait Grain: Packing {
    fn pack(simd: V3, ints: [i16x16; 2], to: &mut [i32]);
}

impl Grain for Halves {
    #[inline(always)]
    fn pack(_: V3, ints: [i16x16; 2], to: &mut [i32]) {
        to.copy_from_slice(&pulp::cast::<_, [i32; PART / 2]>(ints));
    }
}

impl Grain for Quarters {
    #[inline(always)]
    fn pack(simd: V3, [low, high]: [i16x16; 2], to: &mut [i32]) {
        // The four pieces of 64 bits come out as first, third, second and fourth.
        let bytes = simd.avx2._mm256_packs_epi16(pulp::cast(low), pulp::cast(high));
        let bytes = simd.avx2._mm256_permute4x64_epi64::<0b11_01_10_00>(bytes);
        to.copy_from_slice(&pulp::cast::<_, [i32; PART / 4]>(bytes));
    }
}

/// The integers of as many weight rows as a vector has lanes: those of a lane of inputs go to a vector over the rows,
/// every `width` numbers of `to`.
#[inline(always)]
pub(super) fn columns<P: Pairs, L: Grain, B: Block>(
    pairs: P,
    rows: &[&[u8]],
    parts: usize,
    to: &mut [i32],
    width: usize,
) {
    let each = PART / L::EACH;
    // As many parts as sixteen lanes hold.
    for first in (0..parts).step_by(COLUMNS / each) {
        let mut all = [[0; COLUMNS]; MOST];
        for (all, row) in all.iter_mut().zip(rows) {
            for (part, lanes) in (first..parts).zip(all.chunks_exact_mut(each)) {
                L::pack(pairs.avx2(), ints::<P, B>(pairs, row, part), lanes);
            }
        }
        pairs.columns(&all, &mut to[first * each * width..], width);
    }
}

/// The integers of a part of a row, centred.
#[inline(always)]
pub(super) fn ints<P: Pairs, B: Block>(pairs: P, row: &[u8], part: usize) -> [i16x16; 2] {
    let (v3, from) = (pairs.avx2(), part / B::PARTS * B::BYTES);
    let mut ints = B::ints(v3, &row[from..from + B::BYTES], part % B::PARTS);
    for ints in &mut ints {
        *ints = pulp::cast(v3.avx2._mm256_sub_epi16(pulp::cast(*ints), pulp::cast(v3.splat_i16x16(B::MIDDLE))));
    }
    ints
}
