//! Many rows: tiles of queries against blocks of entries, with a running softmax.
//!
//! A vector lane is one query head of one row. Logits of a block lie as `[entries][lanes]`, so the
//! maxima, sums and exponentials of the softmax need no sums across lanes, keys and values are
//! broadcast where they lie, and the group's query heads share both.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{Job, Stock, Task};
use crate::simd::exp::exp2;
use crate::simd::half::Stored;
use crate::simd::outer::{WIDE, outer, tall, wide};
use crate::simd::{Scratch, load, store};

/// Entries of a block: with 64 dimensions the block's logits and values fit a first-level cache.
pub(crate) const BLOCK: usize = 64;

/// Below every logit, and finite, so that differences of maxima stay numbers.
pub(crate) const LOWEST: f32 = -1e30;

/// One tile of rows of one kv head.
pub(super) struct Tile<'a, T> {
    pub(super) job: &'a Job<'a>,
    pub(super) stock: &'a Stock<'a, T>,
    pub(super) task: &'a Task,
    pub(super) scratch: &'a mut Scratch,
}

/// What a group of up to `wide` vectors of lanes carries from block to block.
struct Group<'a> {
    /// Queries, `[dim][lanes]`.
    q: &'a [f32],
    /// Sums of weighted values, `[dim][lanes]`.
    o: &'a mut [f32],
    /// Largest logit so far, sum of weights so far, and the last rescaling, one a lane.
    max: &'a mut [f32],
    sum: &'a mut [f32],
    shrink: &'a mut [f32],
    /// Logits, then weights, of the block, `[BLOCK][lanes]`.
    p: &'a mut [f32],
    /// The entries each lane sees.
    seen: &'a [Range<usize>],
}

impl<T: Stored> WithSimd for Tile<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (job, task) = (self.job, self.task);
        let (dim, lanes) = (job.sizes.dim, S::F32_LANES);
        let whole = wide::<S>() * lanes;
        let group = job.sizes.group();
        let used = task.rows.len() * group;
        let padded = used.next_multiple_of(lanes);
        let seen = job.lanes(task, lanes);
        let first = seen.iter().map(|s| s.start).min().unwrap_or(0);
        let last = seen.iter().map(|s| s.end).max().unwrap_or(0);

        let widen = T::as_f32(&[]).is_none();
        let block = if widen { BLOCK * dim } else { 0 };
        let all = self.scratch.take(padded * (2 * dim + 2) + (BLOCK + 1) * whole + 2 * block);
        let (q, rest) = all.split_at_mut(padded * dim);
        let (o, rest) = rest.split_at_mut(padded * dim);
        let (max, rest) = rest.split_at_mut(padded);
        let (sum, rest) = rest.split_at_mut(padded);
        let (p, rest) = rest.split_at_mut(BLOCK * whole);
        let (shrink, rest) = rest.split_at_mut(whole);
        let (k_wide, v_wide) = rest.split_at_mut(block);
        job.transpose(task, used, whole, q);
        o.fill(0.0);
        max.fill(LOWEST);
        sum.fill(0.0);

        let base = task.kv_head * job.sizes.capacity;
        for start in (first..last).step_by(BLOCK) {
            let entries = start..(start + BLOCK).min(last);
            let width = dim / T::EACH;
            let numbers = (base + entries.start) * width..(base + entries.end) * width;
            let (k, v) = (&self.stock.k[numbers.clone()], &self.stock.v[numbers]);
            let (k, v) = match (T::as_f32(k), T::as_f32(v)) {
                (Some(k), Some(v)) => (k, v),
                _ => {
                    let len = entries.len() * dim;
                    T::widen(simd, k, &mut k_wide[..len]);
                    T::widen(simd, v, &mut v_wide[..len]);
                    (&k_wide[..len], &v_wide[..len])
                }
            };
            for at in (0..padded).step_by(whole) {
                let end = (at + whole).min(padded);
                let group = Group {
                    q: &q[at * dim..end * dim],
                    o: &mut o[at * dim..end * dim],
                    max: &mut max[at..end],
                    sum: &mut sum[at..end],
                    shrink: &mut shrink[..end - at],
                    p: &mut p[..BLOCK * (end - at)],
                    seen: &seen[at..end],
                };
                match (end - at) / lanes {
                    1 => group.add::<S, 1>(simd, dim, entries.clone(), k, v),
                    2 => group.add::<S, 2>(simd, dim, entries.clone(), k, v),
                    _ => group.add::<S, WIDE>(simd, dim, entries.clone(), k, v),
                }
            }
        }
        for lane in 0..used {
            job.finish_lane(task, lane, o, padded, whole, max[lane], sum[lane]);
        }
    }
}

impl Group<'_> {
    /// Takes in one block of entries.
    #[inline(always)]
    fn add<S: Simd, const MV: usize>(self, simd: S, dim: usize, entries: Range<usize>, k: &[f32], v: &[f32]) {
        let lanes = S::F32_LANES;
        let (any, every) = bounds(self.seen);
        if entries.end <= any.start || entries.start >= any.end {
            return;
        }
        assert!(self.o.len() == dim * MV * lanes && v.len() == entries.len() * dim);
        logits::<S, MV>(simd, dim, entries.len(), self.q, k, self.p);
        if entries.start < every.start || entries.end > every.end {
            for (e, p) in entries.clone().zip(self.p.chunks_exact_mut(MV * lanes)) {
                for (p, seen) in p.iter_mut().zip(self.seen) {
                    if e < seen.start || e >= seen.end {
                        *p = f32::NEG_INFINITY;
                    }
                }
            }
        }
        let p = &mut self.p[..entries.len() * MV * lanes];
        weights::<S, MV>(simd, p, self.max, self.sum, self.shrink);
        let mut d = 0;
        while d < dim {
            d += match tall::<S>().min(dim - d) {
                8.. => values::<S, 8, MV>(simd, dim, d, entries.len(), v, p, self.shrink, self.o),
                6.. => values::<S, 6, MV>(simd, dim, d, entries.len(), v, p, self.shrink, self.o),
                4.. => values::<S, 4, MV>(simd, dim, d, entries.len(), v, p, self.shrink, self.o),
                _ => values::<S, 1, MV>(simd, dim, d, entries.len(), v, p, self.shrink, self.o),
            };
        }
    }
}

/// The entries between the first and the last that any of the ranges holds, and those that all hold.
pub(crate) fn bounds(seen: &[Range<usize>]) -> (Range<usize>, Range<usize>) {
    let first = seen.first().cloned().unwrap_or_default();
    seen.iter().fold((first.clone(), first), |(any, every), seen| {
        (any.start.min(seen.start)..any.end.max(seen.end), every.start.max(seen.start)..every.end.min(seen.end))
    })
}

/// `p[e] = k[e] . q` for every lane: `q` `[dim][MV vectors]`, `k` `[entries][dim]`, `p` `[BLOCK][MV
/// vectors]`, of which those behind the entries hold anything afterwards.
#[inline(always)]
pub(crate) fn logits<S: Simd, const MV: usize>(
    simd: S,
    dim: usize,
    entries: usize,
    q: &[f32],
    k: &[f32],
    p: &mut [f32],
) {
    let width = MV * S::F32_LANES;
    assert!(q.len() == dim * width && p.len() == BLOCK * width && entries <= BLOCK && k.len() == entries * dim);
    if tall::<S>() == 8 {
        tiles::<S, 8, MV>(simd, dim, entries, q, k, p);
    } else {
        tiles::<S, 6, MV>(simd, dim, entries, q, k, p);
    }
}

/// [`logits`], which has checked the lengths, `NR` entries at a time.
#[inline(always)]
fn tiles<S: Simd, const NR: usize, const MV: usize>(
    simd: S,
    dim: usize,
    entries: usize,
    q: &[f32],
    k: &[f32],
    p: &mut [f32],
) {
    for start in (0..entries).step_by(NR) {
        // The last tile of a whole block begins within the one before, so that it ends where the block does.
        let start = start.min(BLOCK - NR);
        let mut rows = [k.as_ptr(); NR];
        for (j, row) in rows.iter_mut().enumerate() {
            // A tile that hangs over the last entry computes it again.
            *row = row.wrapping_add((start + j).min(entries - 1) * dim);
        }
        let zero = [[simd.splat_f32s(0.0); MV]; NR];
        // SAFETY: every row lies within `k`, and `q` holds `dim` rows of `MV` vectors.
        #[allow(unsafe_code)]
        let acc = unsafe { outer::<S, NR, MV>(simd, zero, dim, rows, 1, q.as_ptr()) };
        for (j, acc) in acc.iter().enumerate() {
            for (v, &acc) in acc.iter().enumerate() {
                store::<S>(&mut p[((start + j) * MV + v) * S::F32_LANES..], acc);
            }
        }
    }
}

/// Logits to weights against a new running maximum; `shrink` is what older sums must be scaled by.
#[inline(always)]
pub(crate) fn weights<S: Simd, const MV: usize>(
    simd: S,
    p: &mut [f32],
    max: &mut [f32],
    sum: &mut [f32],
    shrink: &mut [f32],
) {
    let lanes = S::F32_LANES;
    let mut old = [simd.splat_f32s(0.0); MV];
    let mut total = old;
    for v in 0..MV {
        old[v] = load::<S>(&max[v * lanes..]);
        total[v] = load::<S>(&sum[v * lanes..]);
    }
    let mut new = old;
    for p in p.chunks_exact(MV * lanes) {
        for v in 0..MV {
            new[v] = simd.max_f32s(load::<S>(&p[v * lanes..]), new[v]);
        }
    }
    for v in 0..MV {
        let scale = exp2(simd, simd.sub_f32s(old[v], new[v]));
        store::<S>(&mut shrink[v * lanes..], scale);
        store::<S>(&mut max[v * lanes..], new[v]);
        total[v] = simd.mul_f32s(total[v], scale);
    }
    for p in p.chunks_exact_mut(MV * lanes) {
        for v in 0..MV {
            let weight = exp2(simd, simd.sub_f32s(load::<S>(&p[v * lanes..]), new[v]));
            store::<S>(&mut p[v * lanes..], weight);
            total[v] = simd.add_f32s(total[v], weight);
        }
    }
    for v in 0..MV {
        store::<S>(&mut sum[v * lanes..], total[v]);
    }
}

/// `o[d] = o[d] * shrink + sum over e of v[e][d] * p[e]` for `NR` dimensions from `d` on; answers
/// `NR`. `add` has checked the lengths, and `d + NR <= dim`.
#[inline(always)]
fn values<S: Simd, const NR: usize, const MV: usize>(
    simd: S,
    dim: usize,
    d: usize,
    entries: usize,
    v: &[f32],
    p: &[f32],
    shrink: &[f32],
    o: &mut [f32],
) -> usize {
    let lanes = S::F32_LANES;
    let mut scale = [simd.splat_f32s(0.0); MV];
    for (i, s) in scale.iter_mut().enumerate() {
        *s = load::<S>(&shrink[i * lanes..]);
    }
    let o = &mut o[d * MV * lanes..(d + NR) * MV * lanes];
    let mut acc = [[simd.splat_f32s(0.0); MV]; NR];
    for j in 0..NR {
        for i in 0..MV {
            acc[j][i] = simd.mul_f32s(load::<S>(&o[(j * MV + i) * lanes..]), scale[i]);
        }
    }
    let mut columns = [v.as_ptr(); NR];
    for (j, column) in columns.iter_mut().enumerate() {
        *column = column.wrapping_add(d + j);
    }
    // SAFETY: `v` holds `entries` rows of `dim` numbers, `p` as many rows of `MV` vectors.
    #[allow(unsafe_code)]
    let acc = unsafe { outer::<S, NR, MV>(simd, acc, entries, columns, dim, p.as_ptr()) };
    for j in 0..NR {
        for i in 0..MV {
            store::<S>(&mut o[(j * MV + i) * lanes..], acc[j][i]);
        }
    }
    NR
}
