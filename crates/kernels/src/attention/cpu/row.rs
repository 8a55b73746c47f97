//! A few rows over many entries: bound by reading keys and values once.

use pulp::{Simd, WithSimd};

use super::tile::{BLOCK, LOWEST};
use super::{Job, Stock, Task};
use crate::simd::exp::exp2;
use crate::simd::half::Stored;
use crate::simd::{Scratch, load, store};

/// All rows of a task, query heads in bundles that share the reading of an entry.
pub(super) struct Rows<'a, T> {
    pub(super) job: &'a Job<'a>,
    pub(super) stock: &'a Stock<'a, T>,
    pub(super) task: &'a Task,
    pub(super) scratch: &'a mut Scratch,
}

impl<T: Stored> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let group = self.job.sizes.group();
        for row in self.task.rows.clone() {
            let mut head = self.task.kv_head * group;
            let end = head + group;
            while head < end {
                let scratch = &mut *self.scratch;
                match end - head {
                    1 => bundle::<S, T, 1>(simd, self.job, self.stock, self.task, row, head, scratch),
                    2 => bundle::<S, T, 2>(simd, self.job, self.stock, self.task, row, head, scratch),
                    3 => bundle::<S, T, 3>(simd, self.job, self.stock, self.task, row, head, scratch),
                    _ => bundle::<S, T, 4>(simd, self.job, self.stock, self.task, row, head, scratch),
                }
                head += 4;
            }
        }
    }
}

/// `H` query heads of one row over the task's entries. `dim` is a multiple of the vector's lanes.
#[inline(always)]
fn bundle<S: Simd, T: Stored, const H: usize>(
    simd: S,
    job: &Job<'_>,
    stock: &Stock<'_, T>,
    task: &Task,
    row: usize,
    head: usize,
    scratch: &mut Scratch,
) {
    let (dim, lanes) = (job.sizes.dim, S::F32_LANES);
    let first = job.seen[row].start.max(task.entries.start);
    let last = job.seen[row].end.min(task.entries.end);
    let all = scratch.take(H * (2 * dim + BLOCK));
    let (q, rest) = all.split_at_mut(H * dim);
    let (o, p) = rest.split_at_mut(H * dim);
    let from = (row * job.sizes.heads + head) * dim;
    for (to, &from) in q.iter_mut().zip(&job.q[from..from + H * dim]) {
        *to = from * job.scale;
    }
    o.fill(0.0);
    let (mut max, mut sum) = ([LOWEST; H], [0f32; H]);
    let base = task.kv_head * job.sizes.capacity;
    for start in (first..last).step_by(BLOCK) {
        let count = BLOCK.min(last - start);
        let width = dim / T::EACH;
        let numbers = (base + start) * width..(base + start + count) * width;
        let (k, v) = (&stock.k[numbers.clone()], &stock.v[numbers]);
        for (e, k) in k.chunks_exact(width).enumerate() {
            for (h, logit) in T::dots::<S, H>(simd, k, q, dim).into_iter().enumerate() {
                p[h * BLOCK + e] = logit;
            }
        }
        let mut shrink = [0f32; H];
        for h in 0..H {
            let p = &mut p[h * BLOCK..(h + 1) * BLOCK];
            p[count..].fill(f32::NEG_INFINITY);
            let (new, total) = weigh(simd, p, max[h]);
            shrink[h] = (max[h] - new).exp2();
            sum[h] = sum[h] * shrink[h] + total;
            max[h] = new;
        }
        let mut d = 0;
        while d < dim {
            d += lanes
                * match (dim - d) / lanes {
                    4.. => values::<S, T, H, 4>(simd, v, dim, d, p, shrink, o),
                    2.. => values::<S, T, H, 2>(simd, v, dim, d, p, shrink, o),
                    _ => values::<S, T, H, 1>(simd, v, dim, d, p, shrink, o),
                };
        }
    }
    for h in 0..H {
        job.finish(task, row, head + h, o[h * dim..(h + 1) * dim].iter(), max[h], sum[h]);
    }
}

/// Base-2 logits, whole vectors, to weights relative to the largest of them and `least`; answers that and their sum.
#[inline(always)]
pub(crate) fn weigh<S: Simd>(simd: S, p: &mut [f32], least: f32) -> (f32, f32) {
    let mut most = simd.splat_f32s(least);
    for p in p.chunks_exact(S::F32_LANES) {
        most = simd.max_f32s(load::<S>(p), most);
    }
    let most = simd.reduce_max_f32s(most);
    let mut total = simd.splat_f32s(0.0);
    for p in p.chunks_exact_mut(S::F32_LANES) {
        let weight = exp2(simd, simd.sub_f32s(load::<S>(p), simd.splat_f32s(most)));
        store::<S>(p, weight);
        total = simd.add_f32s(total, weight);
    }
    (most, simd.reduce_sum_f32s(total))
}

/// Adds a block's weighted values for `W` vectors of dimensions from `d` on; answers `W`.
#[inline(always)]
fn values<S: Simd, T: Stored, const H: usize, const W: usize>(
    simd: S,
    v: &[T],
    dim: usize,
    d: usize,
    p: &[f32],
    shrink: [f32; H],
    o: &mut [f32],
) -> usize {
    let lanes = S::F32_LANES;
    let mut acc = [[simd.splat_f32s(0.0); W]; H];
    for h in 0..H {
        for w in 0..W {
            let old = load::<S>(&o[h * dim + d + w * lanes..]);
            acc[h][w] = simd.mul_f32s(old, simd.splat_f32s(shrink[h]));
        }
    }
    let p = &p[..H * BLOCK];
    for (e, v) in v.chunks_exact(dim / T::EACH).enumerate().take(BLOCK) {
        let mut wide = [simd.splat_f32s(0.0); W];
        for (w, wide) in wide.iter_mut().enumerate() {
            *wide = T::load(simd, v, d, w);
        }
        for h in 0..H {
            let weight = simd.splat_f32s(p[h * BLOCK + e]);
            for w in 0..W {
                acc[h][w] = simd.mul_add_e_f32s(weight, wide[w], acc[h][w]);
            }
        }
    }
    for h in 0..H {
        for w in 0..W {
            store::<S>(&mut o[h * dim + d + w * lanes..], acc[h][w]);
        }
    }
    W
}
