//! Softmax scores of a few rows, as decoding asks for them: keys are read once, and a row's logits are kept.

use pulp::{Simd, WithSimd};

use super::softmax::Job;
use crate::attention::cpu::row::weigh;
use crate::attention::cpu::tile::LOWEST;
use crate::output::Output;
use crate::simd::Scratch;
use crate::simd::half::Stored;

/// Rows from which on the tiles are as fast, which hold as many at least.
pub(super) const MANY: usize = 8;

/// Query heads that share the reading of a key.
const TOGETHER: usize = 4;

/// Adds the softmax weights of all rows for the query heads of one kv head.
pub(super) struct Rows<'a, T> {
    pub(super) job: &'a Job<'a, T>,
    pub(super) kv_head: usize,
    pub(super) out: Output<'a>,
    pub(super) scratch: &'a mut Scratch,
}

impl<T: Stored> WithSimd for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let group = self.job.sizes.group();
        let end = (self.kv_head + 1) * group;
        for row in 0..self.job.sizes.rows {
            for head in (self.kv_head * group..end).step_by(TOGETHER) {
                match end - head {
                    1 => self.bundle::<S, 1>(simd, row, head),
                    2 => self.bundle::<S, 2>(simd, row, head),
                    3 => self.bundle::<S, 3>(simd, row, head),
                    _ => self.bundle::<S, TOGETHER>(simd, row, head),
                }
            }
        }
    }
}

impl<T: Stored> Rows<'_, T> {
    /// `H` query heads of one row.
    #[inline(always)]
    fn bundle<S: Simd, const H: usize>(&mut self, simd: S, row: usize, head: usize) {
        let (job, seen) = (self.job, self.job.seen[row].clone());
        if seen.is_empty() {
            return;
        }
        let (dim, room) = (job.sizes.dim, seen.len().next_multiple_of(S::F32_LANES));
        let (q, p) = self.scratch.take(H * (dim + room)).split_at_mut(H * dim);
        let from = (row * job.sizes.heads + head) * dim;
        for (to, &from) in q.iter_mut().zip(&job.q[from..from + H * dim]) {
            *to = from * job.scale;
        }
        let (base, width) = (self.kv_head * job.sizes.capacity, dim / T::EACH);
        let k = &job.k[(base + seen.start) * width..(base + seen.end) * width];
        for (e, k) in k.chunks_exact(width).enumerate() {
            for (h, logit) in T::dots::<S, H>(simd, k, q, dim).into_iter().enumerate() {
                p[h * room + e] = logit;
            }
        }
        for (h, p) in p.chunks_exact_mut(room).enumerate() {
            p[seen.len()..].fill(f32::NEG_INFINITY);
            let (_, total) = weigh(simd, p, LOWEST);
            for (e, p) in seen.clone().zip(p) {
                self.out.add(head + h, e, *p / total);
            }
        }
    }
}
