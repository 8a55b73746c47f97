//! One tile of rows of one kv head over packed entries.

use std::ops::Range;

use pulp::f32x16;

use super::super::tile::{BLOCK, LOWEST, bounds};
use super::super::{Job, Task};
use super::pack::{self, Packed, WEIGHTS, join, record};
use crate::simd::outer::WIDE;
use crate::simd::vnni::{LANES, Vnni, WithVnni, outer};
use crate::simd::{Scratch, load, store};

type V4 = pulp::x86::V4;

/// Lanes of a whole group.
const GROUP: usize = WIDE * LANES;

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

/// What a group of up to [`GROUP`] lanes carries from block to block.
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

impl WithVnni for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_vnni(self, simd: Vnni) {
        let (job, task) = (self.job, self.task);
        let dim = job.sizes.dim;
        let used = task.rows.len() * job.sizes.group();
        let seen = job.lanes(task, LANES);
        let padded = seen.len();
        let first = seen.iter().map(|s| s.start).min().unwrap_or(0);
        let last = seen.iter().map(|s| s.end).max().unwrap_or(0);

        let sizes = [padded * dim / 2, BLOCK / 2 * GROUP, padded * dim, padded, padded, padded];
        let work = [BLOCK * GROUP, GROUP, GROUP, pack::buffer(dim)];
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
            let at = lane / GROUP * GROUP;
            let width = (padded - at).min(GROUP);
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
            for at in (0..padded).step_by(GROUP) {
                let end = (at + GROUP).min(padded);
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
                match (end - at) / LANES {
                    1 => group.add::<1>(simd, dim, entries.clone(), packed, work),
                    2 => group.add::<2>(simd, dim, entries.clone(), packed, work),
                    _ => group.add::<WIDE>(simd, dim, entries.clone(), packed, work),
                }
            }
        }
        for lane in 0..used {
            let max = if sum[lane] == 0.0 { LOWEST } else { max[lane] * scale[lane] };
            job.finish_lane(task, lane, o, padded, GROUP, max, sum[lane]);
        }
    }
}

impl Group<'_> {
    /// Takes in one block of entries.
    #[inline(always)]
    fn add<const MV: usize>(
        mut self,
        simd: Vnni,
        dim: usize,
        entries: Range<usize>,
        packed: Packed<'_>,
        mut work: Work<'_>,
    ) {
        let (any, every) = bounds(self.seen);
        if entries.end <= any.start || entries.start >= any.end {
            return;
        }
        logits::<MV>(simd, dim, entries.len(), self.q, packed, work.p);
        if entries.start < every.start || entries.end > every.end {
            for (e, p) in entries.clone().zip(work.p.chunks_exact_mut(MV * LANES)) {
                for (p, seen) in p.iter_mut().zip(self.seen) {
                    if e < seen.start || e >= seen.end {
                        *p = f32::NEG_INFINITY;
                    }
                }
            }
        }
        self.weights::<MV>(simd, entries.len(), &mut work);
        let mut d = 0;
        while d < dim {
            d += match dim - d {
                8.. => self.values::<8, MV>(simd, dim, d, entries.len(), packed, &work),
                4.. => self.values::<4, MV>(simd, dim, d, entries.len(), packed, &work),
                _ => self.values::<1, MV>(simd, dim, d, entries.len(), packed, &work),
            };
        }
    }

    /// Logits to integer weights relative to the lane's largest in the block.
    #[inline(always)]
    fn weights<const MV: usize>(&mut self, simd: Vnni, entries: usize, work: &mut Work<'_>) {
        let zero = simd.splat_f32x16(0.0);
        let p = &mut work.p[..entries * MV * LANES];
        let (mut most, mut total, mut scale) = ([simd.splat_f32x16(LOWEST); MV], [zero; MV], [zero; MV]);
        for p in p.chunks_exact(MV * LANES) {
            for v in 0..MV {
                most[v] = simd.max_f32x16(load::<V4>(&p[v * LANES..]), most[v]);
            }
        }
        for (scale, from) in scale.iter_mut().zip(self.scale.chunks_exact(LANES)) {
            *scale = load::<V4>(from);
        }
        for p in p.chunks_exact_mut(MV * LANES) {
            for v in 0..MV {
                let below = simd.sub_f32x16(load::<V4>(&p[v * LANES..]), most[v]);
                let weight = simd.power(simd.mul_f32x16(below, scale[v]));
                store::<V4>(&mut p[v * LANES..], weight);
                total[v] = simd.add_f32x16(total[v], weight);
            }
        }
        let mut factor = [zero; MV];
        for v in 0..MV {
            let old: f32x16 = load::<V4>(&self.max[v * LANES..]);
            let new = simd.max_f32x16(most[v], old);
            store::<V4>(&mut self.max[v * LANES..], new);
            let shrink = simd.power(simd.mul_f32x16(simd.sub_f32x16(old, new), scale[v]));
            store::<V4>(&mut work.shrink[v * LANES..], shrink);
            // Rounding adds half an integer an entry at most. Of a NaN the minimum keeps the second.
            let room = simd.splat_f32x16((WEIGHTS - 1 - BLOCK as i32 / 2) as f32);
            factor[v] = simd.min_f32x16(simd.splat_f32x16(WEIGHT), simd.div_f32x16(room, total[v]));
            let gain = simd.power(simd.mul_f32x16(simd.sub_f32x16(most[v], new), scale[v]));
            store::<V4>(&mut work.gain[v * LANES..], simd.div_f32x16(gain, factor[v]));
        }
        let mut sums = [simd.splat_i32x16(0); MV];
        for (p, pairs) in p.chunks(2 * MV * LANES).zip(work.pairs.chunks_exact_mut(MV * LANES)) {
            for v in 0..MV {
                let first = simd.nearest(simd.mul_f32x16(load::<V4>(&p[v * LANES..]), factor[v]));
                let mut pair = first;
                sums[v] = simd.wrapping_add_i32x16(sums[v], first);
                if p.len() == 2 * MV * LANES {
                    let second = simd.nearest(simd.mul_f32x16(load::<V4>(&p[(MV + v) * LANES..]), factor[v]));
                    sums[v] = simd.wrapping_add_i32x16(sums[v], second);
                    pair = join(simd, first, second);
                }
                pairs[v * LANES..(v + 1) * LANES].copy_from_slice(&pulp::cast::<_, [i32; LANES]>(pair));
            }
        }
        for (v, &added) in sums.iter().enumerate() {
            let (shrink, gain) = (load::<V4>(&work.shrink[v * LANES..]), load::<V4>(&work.gain[v * LANES..]));
            let old = simd.mul_f32x16(load::<V4>(&self.sum[v * LANES..]), shrink);
            store::<V4>(&mut self.sum[v * LANES..], simd.mul_add_f32x16(simd.number(added), gain, old));
        }
    }

    /// Adds the block's weighted values for `NR` dimensions from `d` on; answers `NR`.
    #[inline(always)]
    fn values<const NR: usize, const MV: usize>(
        &mut self,
        simd: Vnni,
        dim: usize,
        d: usize,
        entries: usize,
        packed: Packed<'_>,
        work: &Work<'_>,
    ) -> usize {
        let pairs = entries.div_ceil(2);
        assert!(d + NR <= dim && packed.values.len() >= pairs * dim && work.pairs.len() >= pairs * MV * LANES);
        let mut columns = [packed.values.as_ptr(); NR];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = column.wrapping_add(d + j);
        }
        let zero = [[simd.splat_i32x16(0); MV]; NR];
        // SAFETY: as asserted, the values hold `pairs` rows of `dim` pairs, of which the columns up to
        // `d + NR` exist, and the weights as many rows of `MV` vectors.
        #[allow(unsafe_code)]
        let sums = unsafe { outer::<NR, MV>(simd, zero, pairs, columns, dim, work.pairs.as_ptr()) };
        let scales = &packed.value_scales[d..d + NR];
        let o = &mut self.o[d * MV * LANES..(d + NR) * MV * LANES];
        for v in 0..MV {
            let shrink: f32x16 = load::<V4>(&work.shrink[v * LANES..]);
            let gain: f32x16 = load::<V4>(&work.gain[v * LANES..]);
            for j in 0..NR {
                let o = &mut o[(j * MV + v) * LANES..];
                let gain = simd.mul_f32x16(gain, simd.splat_f32x16(scales[j]));
                let old = simd.mul_f32x16(load::<V4>(o), shrink);
                store::<V4>(o, simd.mul_add_f32x16(simd.number(sums[j][v]), gain, old));
            }
        }
        NR
    }
}

/// `p[e] = k[e] . q` for every lane, in units of the lane's scale.
#[inline(always)]
fn logits<const MV: usize>(simd: Vnni, dim: usize, entries: usize, q: &[i32], packed: Packed<'_>, p: &mut [f32]) {
    const NR: usize = 8;
    let pairs = dim / 2;
    assert!(q.len() == pairs * MV * LANES && p.len() == BLOCK * MV * LANES);
    assert!((1..=BLOCK).contains(&entries) && packed.keys.len() >= entries * pairs);
    for start in (0..entries).step_by(NR) {
        let mut rows = [packed.keys.as_ptr(); NR];
        for (j, row) in rows.iter_mut().enumerate() {
            // A tile that hangs over the last entry computes it again.
            *row = row.wrapping_add((start + j).min(entries - 1) * pairs);
        }
        let zero = [[simd.splat_i32x16(0); MV]; NR];
        // SAFETY: as asserted, the keys hold `entries` rows of `pairs`, and `q` `pairs` rows of `MV` vectors.
        #[allow(unsafe_code)]
        let sums = unsafe { outer::<NR, MV>(simd, zero, pairs, rows, 1, q.as_ptr()) };
        for (j, sums) in sums.iter().enumerate() {
            let scale = simd.splat_f32x16(packed.key_scales[start + j]);
            for (v, &sum) in sums.iter().enumerate() {
                let at = ((start + j) * MV + v) * LANES;
                store::<V4>(&mut p[at..], simd.mul_f32x16(simd.number(sum), scale));
            }
        }
    }
}
