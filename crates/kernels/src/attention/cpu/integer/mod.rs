//! Tiles of 16-bit integers, for many rows over entries of 16 bits and less.
//!
//! The shape of the work is that of the f32 tiles. Queries and keys become integers with a scale for
//! each vector, such that by Cauchy-Schwarz no dot product leaves 32 bits. In a block of entries
//! each lane's weights are relative to its largest there and become integers that add up to at most
//! 2^17, values become integers of 15 bits with a scale for each dimension. Their products are exact;
//! a lane's denominator is the sum of its integers, so that weights add up to one.

mod pack;
mod tile;

use std::ops::Range;

use super::tile::BLOCK;
use super::{Job, Sizes, Stock, Task, each};
use crate::level::Level;
use crate::simd::Scratch;
use crate::simd::half::Stored;
use crate::simd::pairs::Integers;
use crate::threads;

/// Bytes of packed keys and values that a call holds at a time, unless one kv head needs more.
const TOGETHER: usize = 32 << 20;

/// Rows times query heads of a group from which on packing the entries is worth it.
const MANY: usize = 64;

/// Blocks that one task packs.
const PACKED_TOGETHER: usize = 4;

/// The instructions, where the level has them and the call is for them.
pub(super) fn choose<T: Stored>(level: Level, sizes: Sizes) -> Option<Integers> {
    let many = sizes.rows * sizes.group() >= MANY && sizes.dim.is_multiple_of(2);
    if many && T::as_f32(&[]).is_none() { Integers::find(level) } else { None }
}

/// Runs all tasks over the entries `span`, some kv heads at a time.
pub(super) fn attend<T: Stored>(
    simd: Integers,
    job: &Job<'_>,
    stock: &Stock<'_, T>,
    span: Range<usize>,
    tasks: impl Fn(Range<usize>) -> Vec<Task>,
    parallel: bool,
) {
    let Sizes { kv_heads, capacity, dim, .. } = job.sizes;
    let width = dim / T::EACH;
    let (blocks, record) = (span.len().div_ceil(BLOCK), pack::record(dim));
    let together = (TOGETHER / (4 * blocks * record)).clamp(1, kv_heads);
    Scratch::shared(|scratch| {
        for first in (0..kv_heads).step_by(together) {
            let heads = first..(first + together).min(kv_heads);
            let room = scratch.take(heads.len() * blocks * record);
            let pack = |(i, room): (usize, &mut [f32])| {
                Scratch::with(|scratch| {
                    for (j, room) in room.chunks_exact_mut(record).enumerate() {
                        let (head, block) = (heads.start + (i + j) / blocks, (i + j) % blocks);
                        let start = span.start + block * BLOCK;
                        let base = head * capacity;
                        let entries = (base + start) * width..(base + (start + BLOCK).min(span.end)) * width;
                        let (k, v) = (&stock.k[entries.clone()], &stock.v[entries]);
                        simd.run(pack::Pack { k, v, dim, room, scratch });
                    }
                });
            };
            let chunks = room.chunks_mut(PACKED_TOGETHER * record);
            threads::each_of(parallel, chunks.enumerate(), |(i, room)| pack((i * PACKED_TOGETHER, room)));
            let packed: &[f32] = room;
            each(&tasks(heads.clone()), parallel, |task, scratch| {
                let at = (task.kv_head - heads.start) * blocks * record;
                let packed = &packed[at..at + blocks * record];
                simd.run(tile::Tile { job, task, packed, from: span.start, scratch });
            });
        }
    });
}
