//! One tile of rows of one kv head over packed entries.

use std::ops::Range;

use pulp::Simd;

use super::super::tile::{BLOCK, LOWEST, bounds};
use super::super::{Job, Task};
use super::pack::{self, Packed, WEIGHTS, record};
use crate::simd::outer::{WIDE, tall, wide};
use crate::simd::pairs::{Halves, Pairs, WithPairs, add, join, keep, outer};
use crate::simd::{Scratch, load, store};

/// The largest integer weight.
const WEIGHT: f32 = 32767.0;

pub(super) struct Tile<'a> {
    pub(super) job: &'a Job<'a>,
    pub(super) task: &'a Task,
    /// The kv head's packed blocks, the first of which starts at the entry `from`.
    pub(super) packed: &'a [f32],
    pub(super) from: usize,
    pub(super) scratch: &'a mut Scratch,
}

/// What a group of up to `wide` vectors of lanes carries from block to block.
struct Group<'a> {
    /// Pairs of neighbouring dimensions of the queries, `[dim / 2][lanes]`, and their scales.
    q: &'a [i32],
    scale: &'a [f32],
    /// Sums of weighted values, `[dim][lanes]`.
    o: &'a mut [f32],
    /// Largest logit so far, in units of the lane's scale, and sum of weights so far.
    max: &'a mut [f32],
    sum: &'a mut [f32],
    /// The entries each lane sees.
    seen: &'a [Range<usize>],
}

/// Working memory of a block.
struct Work<'a> {
    /// Logits, then weights, `[BLOCK][lanes]`.
    p: &'a mut [f32],
    /// Integer weights, pairs of neighbouring entries, `[BLOCK / 2][lanes]`.
    pairs: &'a mut [i32],
    /// What older sums must be multiplied by, and the sums of the block, one a lane.
    shrink: &'a mut [f32],
    gain: &'a mut [f32],
}

impl WithPairs for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_pairs<P: Pairs>(self, simd: P) {
        let (job, task) = (self.job, self.task);
        let whole = wide::<P::Simd>() * P::LANES;
        let dim = job.sizes.dim;
        let used = task.rows.len() * job.sizes.group();
        let seen = job.lanes(task, P::LANES);
        let padded = seen.len();
        let first = seen.iter().map(|s| s.start).min().unwrap_or(0);
        let last = seen.iter().map(|s| s.end).max().unwrap_or(0);

        let sizes = [padded * dim / 2, BLOCK / 2 * whole, padded * dim, padded, padded, padded];
        let work = [BLOCK * whole, whole, whole, pack::buffer(dim)];
        let mut all = self.scratch.take(sizes.iter().chain(&work).sum());
        let mut cut = |len: usize| {
            let (part, rest) = std::mem::take(&mut all).split_at_mut(len);
            all = rest;
            part
        };
        let [q, pairs, o, scale, max, sum] = sizes.map(&mut cut);
        let [p, shrink, gain, buffer] = work.map(&mut cut);
        let (q, pairs): (&mut [i32], &mut [i32]) = (bytemuck::cast_slice_mut(q), bytemuck::cast_slice_mut(pairs));
        o.fill(0.0);
        max.fill(LOWEST);
        sum.fill(0.0);
        for (lane, scale) in scale.iter_mut().enumerate() {
            let at = lane / whole * whole;
            let width = (padded - at).min(whole);
            let to = &mut q[at * dim / 2..(at + width) * dim / 2][lane - at..];
            *scale = pack::query(simd, job.query(task, lane.min(used - 1)), job.scale, buffer, to, width);
        }

        let blocks = self.packed.chunks_exact(record(dim)).enumerate();
        let skip = (first - self.from) / BLOCK;
        for (block, packed) in blocks.skip(skip) {
            let start = self.from + block * BLOCK;
            if start >= last {
                break;
            }
            let entries = start..(start + BLOCK).min(last);
            let packed = Packed::new(packed, dim);
            for at in (0..padded).step_by(whole) {
                let end = (at + whole).min(padded);
                let group = Group {
                    q: &q[at * dim / 2..end * dim / 2],
                    scale: &scale[at..end],
                    o: &mut o[at * dim..end * dim],
                    max: &mut max[at..end],
                    sum: &mut sum[at..end],
                    seen: &seen[at..end],
                };
                let work = Work {
                    p: &mut p[..BLOCK * (end - at)],
                    pairs: &mut pairs[..BLOCK / 2 * (end - at)],
                    shrink: &mut shrink[..end - at],
                    gain: &mut gain[..end - at],
                };
                match (end - at) / P::LANES {
                    1 => group.add::<P, 1>(simd, dim, entries.clone(), packed, work),
                    2 => group.add::<P, 2>(simd, dim, entries.clone(), packed, work),
                    _ => group.add::<P, WIDE>(simd, dim, entries.clone(), packed, work),
                }
            }
        }
        for lane in 0..used {
            let max = if sum[lane] == 0.0 { LOWEST } else { max[lane] * scale[lane] };
            job.finish_lane(task, lane, o, padded, whole, max, sum[lane]);
        }
    }
}

impl Group<'_> {
    /// Takes in one block of entries.
    #[inline(always)]
    fn add<P: Pairs, const MV: usize>(
        mut self,
        simd: P,
        dim: usize,
        entries: Range<usize>,
        packed: Packed<'_>,
        mut work: Work<'_>,
    ) {
        let (any, every) = bounds(self.seen);
        if entries.end <= any.start || entries.start >= any.end {
            return;
        }
        logits::<P, MV>(simd, dim, entries.len(), self.q, packed, work.p);
        if entries.start < every.start || entries.end > every.end {
            for (e, p) in entries.clone().zip(work.p.chunks_exact_mut(MV * P::LANES)) {
                for (p, seen) in p.iter_mut().zip(self.seen) {
                    if e < seen.start || e >= seen.end {
                        *p = f32::NEG_INFINITY;
                    }
                }
            }
        }
        self.weights::<P, MV>(simd, entries.len(), &mut work);
        let mut d = 0;
        while d < dim {
            d += match tall::<P::Simd>().min(dim - d) {
                8.. => self.values::<P, 8, MV>(simd, dim, d, entries.len(), packed, &work),
                6.. => self.values::<P, 6, MV>(simd, dim, d, entries.len(), packed, &work),
                4.. => self.values::<P, 4, MV>(simd, dim, d, entries.len(), packed, &work),
                _ => self.values::<P, 1, MV>(simd, dim, d, entries.len(), packed, &work),
            };
        }
    }

    /// Logits to integer weights relative to the lane's largest in the block.
    #[inline(always)]
    fn weights<P: Pairs, const MV: usize>(&mut self, pairs: P, entries: usize, work: &mut Work<'_>) {
        let simd = pairs.simd();
        let zero = simd.splat_f32s(0.0);
        let p = &mut work.p[..entries * MV * P::LANES];
        let (mut most, mut total, mut scale) = ([simd.splat_f32s(LOWEST); MV], [zero; MV], [zero; MV]);
        for p in p.chunks_exact(MV * P::LANES) {
            for v in 0..MV {
                most[v] = simd.max_f32s(load::<P::Simd>(&p[v * P::LANES..]), most[v]);
            }
        }
        for (scale, from) in scale.iter_mut().zip(self.scale.chunks_exact(P::LANES)) {
            *scale = load::<P::Simd>(from);
        }
        for p in p.chunks_exact_mut(MV * P::LANES) {
            for v in 0..MV {
                let below = simd.sub_f32s(load::<P::Simd>(&p[v * P::LANES..]), most[v]);
                let weight = pairs.power(simd.mul_f32s(below, scale[v]));
                store::<P::Simd>(&mut p[v * P::LANES..], weight);
                total[v] = simd.add_f32s(total[v], weight);
            }
        }
        let mut factor = [zero; MV];
        for v in 0..MV {
            let old = load::<P::Simd>(&self.max[v * P::LANES..]);
            let new = simd.max_f32s(most[v], old);
            store::<P::Simd>(&mut self.max[v * P::LANES..], new);
            let shrink = pairs.power(simd.mul_f32s(simd.sub_f32s(old, new), scale[v]));
            store::<P::Simd>(&mut work.shrink[v * P::LANES..], shrink);
            // Rounding adds half an integer an entry at most. Of a NaN the minimum keeps the second.
            let room = simd.splat_f32s((WEIGHTS - 1 - BLOCK as i32 / 2) as f32);
            factor[v] = simd.min_f32s(simd.splat_f32s(WEIGHT), simd.div_f32s(room, total[v]));
            let gain = pairs.power(simd.mul_f32s(simd.sub_f32s(most[v], new), scale[v]));
            store::<P::Simd>(&mut work.gain[v * P::LANES..], simd.div_f32s(gain, factor[v]));
        }
        let mut sums = [simd.splat_i32s(0); MV];
        for (p, to) in p.chunks(2 * MV * P::LANES).zip(work.pairs.chunks_exact_mut(MV * P::LANES)) {
            for v in 0..MV {
                let first = pairs.nearest(simd.mul_f32s(load::<P::Simd>(&p[v * P::LANES..]), factor[v]));
                let mut pair = first;
                sums[v] = add(simd, sums[v], first);
                if p.len() == 2 * MV * P::LANES {
                    let second = pairs.nearest(simd.mul_f32s(load::<P::Simd>(&p[(MV + v) * P::LANES..]), factor[v]));
                    sums[v] = add(simd, sums[v], second);
                    pair = join(simd, first, second);
                }
                keep(simd, &mut to[v * P::LANES..], pair);
            }
        }
        for (v, &added) in sums.iter().enumerate() {
            let (shrink, gain) =
                (load::<P::Simd>(&work.shrink[v * P::LANES..]), load::<P::Simd>(&work.gain[v * P::LANES..]));
            let old = simd.mul_f32s(load::<P::Simd>(&self.sum[v * P::LANES..]), shrink);
            store::<P::Simd>(&mut self.sum[v * P::LANES..], simd.mul_add_e_f32s(pairs.number(added), gain, old));
        }
    }

    /// Adds the block's weighted values for `NR` dimensions from `d` on; answers `NR`.
    #[inline(always)]
    fn values<P: Pairs, const NR: usize, const MV: usize>(
        &mut self,
        pairs: P,
        dim: usize,
        d: usize,
        entries: usize,
        packed: Packed<'_>,
        work: &Work<'_>,
    ) -> usize {
        let (simd, count) = (pairs.simd(), entries.div_ceil(2));
        assert!(d + NR <= dim && packed.values.len() >= count * dim && work.pairs.len() >= count * MV * P::LANES);
        let mut columns = [packed.values.as_ptr(); NR];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = column.wrapping_add(d + j);
        }
        let zero = [[simd.splat_i32s(0); MV]; NR];
        // SAFETY: as asserted, the values hold `count` rows of `dim` pairs, of which the columns up to
        // `d + NR` exist, and the weights as many rows of `MV` vectors.
        #[allow(unsafe_code)]
        let sums = unsafe { outer::<P, Halves, NR, MV>(pairs, zero, count, columns, dim, work.pairs.as_ptr()) };
        let scales = &packed.value_scales[d..d + NR];
        let o = &mut self.o[d * MV * P::LANES..(d + NR) * MV * P::LANES];
        for v in 0..MV {
            let shrink = load::<P::Simd>(&work.shrink[v * P::LANES..]);
            let gain = load::<P::Simd>(&work.gain[v * P::LANES..]);
            for j in 0..NR {
                let o = &mut o[(j * MV + v) * P::LANES..];
                let gain = simd.mul_f32s(gain, simd.splat_f32s(scales[j]));
                let old = simd.mul_f32s(load::<P::Simd>(o), shrink);
                store::<P::Simd>(o, simd.mul_add_e_f32s(pairs.number(sums[j][v]), gain, old));
            }
        }
        NR
    }
}

/// `p[e] = k[e] . q` for every lane, in units of the lane's scale; behind the entries `p` holds anything afterwards.
#[inline(always)]
fn logits<P: Pairs, const MV: usize>(
    pairs: P,
    dim: usize,
    entries: usize,
    q: &[i32],
    packed: Packed<'_>,
    p: &mut [f32],
) {
    let half = dim / 2;
    assert!(q.len() == half * MV * P::LANES && p.len() == BLOCK * MV * P::LANES);
    assert!((1..=BLOCK).contains(&entries) && packed.keys.len() >= entries * half);
    if tall::<P::Simd>() == 8 {
        tiles::<P, 8, MV>(pairs, half, entries, q, packed, p);
    } else {
        tiles::<P, 6, MV>(pairs, half, entries, q, packed, p);
    }
}

/// [`logits`], which has checked the lengths, `NR` entries at a time; `half` pairs are a vector.
#[inline(always)]
fn tiles<P: Pairs, const NR: usize, const MV: usize>(
    pairs: P,
    half: usize,
    entries: usize,
    q: &[i32],
    packed: Packed<'_>,
    p: &mut [f32],
) {
    let simd = pairs.simd();
    for start in (0..entries).step_by(NR) {
        // The last tile of a whole block begins within the one before, so that it ends where the block does.
        let start = start.min(BLOCK - NR);
        let mut rows = [packed.keys.as_ptr(); NR];
        for (j, row) in rows.iter_mut().enumerate() {
            // A tile that hangs over the last entry computes it again.
            *row = row.wrapping_add((start + j).min(entries - 1) * half);
        }
        let zero = [[simd.splat_i32s(0); MV]; NR];
        // SAFETY: the keys hold `entries` rows of `half` pairs, and `q` as many rows of `MV` vectors.
        #[allow(unsafe_code)]
        let sums = unsafe { outer::<P, Halves, NR, MV>(pairs, zero, half, rows, 1, q.as_ptr()) };
        for (j, sums) in sums.iter().enumerate() {
            let scale = simd.splat_f32s(packed.key_scales[start + j]);
            for (v, &sum) in sums.iter().enumerate() {
                let at = ((start + j) * MV + v) * P::LANES;
                store::<P::Simd>(&mut p[at..], simd.mul_f32s(pairs.number(sum), scale));
            }
        }
    }
}
