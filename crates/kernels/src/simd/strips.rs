//! Operands of products in tiles: each number as the sum of two bf16.

use bytemuck::Zeroable;
use pulp::i32x16;

use super::amx::Amx;
use super::load;
use super::pairs::MOST as LANES;
use super::transpose::transpose16;

/// Rows and columns of a [`Square`].
pub(crate) const SIDE: usize = 32;

/// Inputs that a tile spans.
pub(crate) const DEPTH: usize = 32;

/// Sixteen rows of 64 bytes.
///
/// On the left of a product: 32 neighbouring inputs of sixteen rows. On the right: sixteen pairs of
/// neighbouring inputs for each of sixteen columns.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub(crate) [i32; 16 * LANES]);

/// [`SIDE`] rows (or columns) over [`DEPTH`] inputs: the `high` of both halves, then the `low` of both.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Strip {
    pub(crate) high: [Tile; 2],
    pub(crate) low: [Tile; 2],
}

/// Numbers of f32 in whose room a [`Strip`] fits.
pub(crate) const STRIP: usize = size_of::<Strip>() / 4;

/// The product of two operands, row by row.
pub(crate) type Square = [f32; SIDE * SIDE];

/// Writes a row, the `r`-th of [`SIDE`], to the strips of a left operand, one for every [`DEPTH`] of its
/// numbers; zeros behind its end.
#[inline(always)]
pub(crate) fn left(simd: Amx, row: &[f32], r: usize, strips: &mut [Strip]) {
    for (step, strip) in strips.iter_mut().enumerate() {
        let (high, low) = split(simd, row, step);
        for (half, tiles) in [(high, &mut strip.high), (low, &mut strip.low)] {
            let to = &mut tiles[r / LANES].0[r % LANES * LANES..][..LANES];
            to.copy_from_slice(&pulp::cast::<_, [i32; LANES]>(half));
        }
    }
}

/// Writes sixteen rows of `cols` numbers to the strips of a right operand, as its first or second half of
/// columns; zeros for rows that are missing and behind their ends.
#[inline(always)]
pub(crate) fn right(simd: Amx, rows: &[f32], cols: usize, half: usize, strips: &mut [Strip]) {
    for (step, strip) in strips.iter_mut().enumerate() {
        let mut halves = [[i32x16::zeroed(); LANES]; 2];
        for (r, row) in rows.chunks_exact(cols).take(LANES).enumerate() {
            (halves[0][r], halves[1][r]) = split(simd, row, step);
        }
        for (rows, tiles) in halves.into_iter().zip([&mut strip.high, &mut strip.low]) {
            tiles[half].0 = pulp::cast(transpose16(**simd, rows));
        }
    }
}

/// The numbers of a row that belong to a step, as [`Amx::split`] has them.
#[inline(always)]
fn split(simd: Amx, row: &[f32], step: usize) -> (i32x16, i32x16) {
    type V4 = pulp::x86::V4;
    let row = row.get(step * DEPTH..).unwrap_or_default();
    if row.len() >= DEPTH {
        return simd.split(load::<V4>(row), load::<V4>(&row[LANES..]));
    }
    let mut padded = [0f32; DEPTH];
    padded[..row.len()].copy_from_slice(row);
    simd.split(load::<V4>(&padded), load::<V4>(&padded[LANES..]))
}
