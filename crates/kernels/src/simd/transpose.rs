//! Rows to columns in registers.

use pulp::x86::{V3, V4};
use pulp::{i32x8, i32x16};

/// Eight rows to columns.
#[inline(always)]
pub(crate) fn transpose8(simd: V3, rows: [i32x8; 8]) -> [i32x8; 8] {
    let f = simd.avx2;
    let mut fours = rows;
    for g in 0..2 {
        // Within each half of a vector, as below: half `h` of `fours[4 g + c]` is column `4 h + c`.
        let [a, b, c, d] = [rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]];
        let [a, b, c, d] = [pulp::cast(a), pulp::cast(b), pulp::cast(c), pulp::cast(d)];
        let (ab, cd) = (f._mm256_unpacklo_epi32(a, b), f._mm256_unpacklo_epi32(c, d));
        fours[4 * g] = pulp::cast(f._mm256_unpacklo_epi64(ab, cd));
        fours[4 * g + 1] = pulp::cast(f._mm256_unpackhi_epi64(ab, cd));
        let (ab, cd) = (f._mm256_unpackhi_epi32(a, b), f._mm256_unpackhi_epi32(c, d));
        fours[4 * g + 2] = pulp::cast(f._mm256_unpacklo_epi64(ab, cd));
        fours[4 * g + 3] = pulp::cast(f._mm256_unpackhi_epi64(ab, cd));
    }
    let mut columns = fours;
    for c in 0..4 {
        let (a, b) = (pulp::cast(fours[c]), pulp::cast(fours[4 + c]));
        columns[c] = pulp::cast(f._mm256_permute2x128_si256::<0x20>(a, b));
        columns[4 + c] = pulp::cast(f._mm256_permute2x128_si256::<0x31>(a, b));
    }
    columns
}

/// Sixteen rows to columns.
#[inline(always)]
pub(crate) fn transpose16(simd: V4, rows: [i32x16; 16]) -> [i32x16; 16] {
    let f = simd.avx512f;
    let mut fours = rows;
    for g in 0..4 {
        // Neighbouring rows interleaved within each quarter of a vector, then neighbouring pairs:
        // quarter `q` of `fours[4 g + c]` is column `4 q + c` of the rows from `4 g` on.
        let [a, b, c, d] = [rows[4 * g], rows[4 * g + 1], rows[4 * g + 2], rows[4 * g + 3]];
        let [a, b, c, d] = [pulp::cast(a), pulp::cast(b), pulp::cast(c), pulp::cast(d)];
        let (ab, cd) = (f._mm512_unpacklo_epi32(a, b), f._mm512_unpacklo_epi32(c, d));
        fours[4 * g] = pulp::cast(f._mm512_unpacklo_epi64(ab, cd));
        fours[4 * g + 1] = pulp::cast(f._mm512_unpackhi_epi64(ab, cd));
        let (ab, cd) = (f._mm512_unpackhi_epi32(a, b), f._mm512_unpackhi_epi32(c, d));
        fours[4 * g + 2] = pulp::cast(f._mm512_unpacklo_epi64(ab, cd));
        fours[4 * g + 3] = pulp::cast(f._mm512_unpackhi_epi64(ab, cd));
    }
    let mut columns = fours;
    for c in 0..4 {
        let [a, b, d, e] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
        let [a, b, d, e] = [pulp::cast(a), pulp::cast(b), pulp::cast(d), pulp::cast(e)];
        let (low, high) = (f._mm512_shuffle_i32x4::<0x88>(a, b), f._mm512_shuffle_i32x4::<0x88>(d, e));
        columns[c] = pulp::cast(f._mm512_shuffle_i32x4::<0x88>(low, high));
        columns[8 + c] = pulp::cast(f._mm512_shuffle_i32x4::<0xdd>(low, high));
        let (low, high) = (f._mm512_shuffle_i32x4::<0xdd>(a, b), f._mm512_shuffle_i32x4::<0xdd>(d, e));
        columns[4 + c] = pulp::cast(f._mm512_shuffle_i32x4::<0x88>(low, high));
        columns[12 + c] = pulp::cast(f._mm512_shuffle_i32x4::<0xdd>(low, high));
    }
    columns
}
