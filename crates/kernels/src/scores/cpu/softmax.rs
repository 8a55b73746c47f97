//! Softmax scores of many rows in two sweeps: first every row's log-sum-exp, then sums over rows by span of
//! entries. Nothing of size rows x entries exists; what is kept is `heads x (rows + entries)`.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::row::{MANY, Rows};
use crate::attention::Sizes;
use crate::attention::cpu::tile::{BLOCK, LOWEST, bounds, logits, weights};
use crate::level::Level;
use crate::output::Output;
use crate::rows::FEW_PRODUCTS;
use crate::simd::exp::{LOG2_E, exp2};
use crate::simd::half::Stored;
use crate::simd::outer::{WIDE, wide, widest};
use crate::simd::{Scratch, load, store};
use crate::threads;

/// Entries of a second-sweep task: enough to make transposing the rows' queries cheap.
const SPAN: usize = 512;

/// What is read.
pub(super) struct Job<'a, T> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [T],
    pub(super) sizes: Sizes,
    /// For logits to the base 2.
    pub(super) scale: f32,
    /// The entries that each row sees.
    pub(super) seen: Vec<Range<usize>>,
}

/// For every head and entry the sum of the rows' softmax weights, `[heads, entries]`.
pub(super) fn column_sums<T: Stored>(
    level: Level,
    q: &[f32],
    k: &[T],
    entries: usize,
    scale: f32,
    seen: Vec<Range<usize>>,
    sizes: Sizes,
) -> Vec<f32> {
    let Sizes { rows, heads, kv_heads, dim, .. } = sizes;
    let work = seen.iter().map(ExactSizeIterator::len).sum::<usize>() * heads * dim;
    let mut sums = vec![0f32; heads * entries];
    if work == 0 {
        return sums;
    }
    let arch = level.arch();
    let job = Job { q, k, sizes, scale: scale * LOG2_E, seen };
    let parallel = work >= FEW_PRODUCTS && threads::count() > 1;
    if rows < MANY {
        // SAFETY: a task alone adds to the rows of its kv head's query heads.
        #[allow(unsafe_code)]
        let out = unsafe { Output::new(&mut sums, entries) };
        threads::each(parallel, kv_heads, |kv_head| {
            Scratch::with(|scratch| arch.dispatch(Rows { job: &job, kv_head, out, scratch }));
        });
        return sums;
    }
    let mut totals = vec![0f32; heads * rows];
    let height = widest(arch);
    let tiles = rows.div_ceil(height);
    // SAFETY: a task alone writes the totals of its head and rows.
    #[allow(unsafe_code)]
    let target = unsafe { Output::new(&mut totals, rows) };
    // The last rows see most: they come first.
    threads::each(parallel, tiles * heads, |i| {
        let (first, head) = ((tiles - 1 - i / heads) * height, i % heads);
        let rows = first..(first + height).min(rows);
        Scratch::with(|scratch| {
            arch.dispatch(Totals { job: &job, head, rows, out: target, scratch });
        });
    });
    // SAFETY: a task alone adds to its head's span of entries.
    #[allow(unsafe_code)]
    let target = unsafe { Output::new(&mut sums, entries) };
    threads::each(parallel, entries.div_ceil(SPAN) * heads, |i| {
        let (first, head) = (i / heads * SPAN, i % heads);
        let span = first..(first + SPAN).min(entries);
        let totals = &totals[head * rows..(head + 1) * rows];
        Scratch::with(|scratch| {
            arch.dispatch(Sums { job: &job, head, span, totals, out: target, scratch });
        });
    });
    sums
}

impl<T: Stored> Job<'_, T> {
    /// Scaled queries of one head, `[dim][lanes]`; lanes without a row repeat the last one.
    #[inline(always)]
    fn transpose(&self, head: usize, rows: &Range<usize>, to: &mut [f32]) {
        let Sizes { heads, dim, .. } = self.sizes;
        let lanes = to.len() / dim;
        for lane in 0..lanes {
            let from = ((rows.start + lane.min(rows.len() - 1)) * heads + head) * dim;
            for (to, &q) in to[lane..].iter_mut().step_by(lanes).zip(&self.q[from..from + dim]) {
                *to = q * self.scale;
            }
        }
    }

    /// The keys of some entries as f32.
    #[inline(always)]
    fn keys<'k, S: Simd>(&'k self, simd: S, head: usize, entries: &Range<usize>, wide: &'k mut [f32]) -> &'k [f32] {
        let Sizes { capacity, dim, .. } = self.sizes;
        let (base, width) = (head / self.sizes.group() * capacity, dim / T::EACH);
        let k = &self.k[(base + entries.start) * width..(base + entries.end) * width];
        if let Some(k) = T::as_f32(k) {
            return k;
        }
        let wide = &mut wide[..entries.len() * dim];
        T::widen(simd, k, wide);
        wide
    }

    /// Overwrites what a row must not see.
    #[inline(always)]
    fn mask(&self, rows: &Range<usize>, entries: &Range<usize>, p: &mut [f32], lanes: usize, with: f32) {
        for (e, p) in entries.clone().zip(p.chunks_exact_mut(lanes)) {
            for (p, seen) in p.iter_mut().zip(&self.seen[rows.clone()]) {
                if e < seen.start || e >= seen.end {
                    *p = with;
                }
            }
        }
    }
}

/// First sweep: the base-2 log-sum-exp of some rows of one head.
struct Totals<'a, T> {
    job: &'a Job<'a, T>,
    head: usize,
    rows: Range<usize>,
    out: Output<'a>,
    scratch: &'a mut Scratch,
}

impl<T: Stored> WithSimd for Totals<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.rows.len().div_ceil(S::F32_LANES) {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            _ => self.run::<S, WIDE>(simd),
        }
    }
}

impl<T: Stored> Totals<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const MV: usize>(self, simd: S) {
        let (dim, lanes) = (self.job.sizes.dim, MV * S::F32_LANES);
        let all = self.scratch.take(lanes * (dim + BLOCK + 3) + BLOCK * dim);
        let (q, rest) = all.split_at_mut(lanes * dim);
        let (p, rest) = rest.split_at_mut(lanes * BLOCK);
        let (max, rest) = rest.split_at_mut(lanes);
        let (sum, rest) = rest.split_at_mut(lanes);
        let (shrink, wide) = rest.split_at_mut(lanes);
        self.job.transpose(self.head, &self.rows, q);
        max.fill(LOWEST);
        sum.fill(0.0);
        let (any, every) = bounds(&self.job.seen[self.rows.clone()]);
        for start in (any.start..any.end).step_by(BLOCK) {
            let entries = start..(start + BLOCK).min(any.end);
            let k = self.job.keys(simd, self.head, &entries, wide);
            logits::<S, MV>(simd, dim, entries.len(), q, k, p);
            let p = &mut p[..entries.len() * lanes];
            if entries.start < every.start || entries.end > every.end {
                self.job.mask(&self.rows, &entries, p, lanes, f32::NEG_INFINITY);
            }
            weights::<S, MV>(simd, p, max, sum, shrink);
        }
        for (row, (max, sum)) in self.rows.clone().zip(max.iter().zip(sum.iter())) {
            self.out.put(self.head, row, max + sum.log2());
        }
    }
}

/// Second sweep: sums over all rows for a span of entries of one head.
struct Sums<'a, T> {
    job: &'a Job<'a, T>,
    head: usize,
    span: Range<usize>,
    totals: &'a [f32],
    out: Output<'a>,
    scratch: &'a mut Scratch,
}

impl<T: Stored> WithSimd for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let height = wide::<S>() * S::F32_LANES;
        for first in (0..self.totals.len()).step_by(height) {
            let rows = first..(first + height).min(self.totals.len());
            match rows.len().div_ceil(S::F32_LANES) {
                1 => self.run::<S, 1>(simd, rows),
                2 => self.run::<S, 2>(simd, rows),
                _ => self.run::<S, WIDE>(simd, rows),
            }
        }
    }
}

impl<T: Stored> Sums<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const MV: usize>(&mut self, simd: S, rows: Range<usize>) {
        let (dim, lanes) = (self.job.sizes.dim, MV * S::F32_LANES);
        let (any, every) = bounds(&self.job.seen[rows.clone()]);
        let span = self.span.start.max(any.start)..self.span.end.min(any.end);
        if span.is_empty() {
            return;
        }
        let all = self.scratch.take(lanes * (dim + BLOCK + 1) + BLOCK * dim);
        let (q, rest) = all.split_at_mut(lanes * dim);
        let (p, rest) = rest.split_at_mut(lanes * BLOCK);
        let (total, wide) = rest.split_at_mut(lanes);
        self.job.transpose(self.head, &rows, q);
        // A lane without a row, or whose row sees nothing, gives every entry zero.
        total.fill(f32::INFINITY);
        total[..rows.len()].copy_from_slice(&self.totals[rows.clone()]);
        for start in span.clone().step_by(BLOCK) {
            let entries = start..(start + BLOCK).min(span.end);
            let k = self.job.keys(simd, self.head, &entries, wide);
            logits::<S, MV>(simd, dim, entries.len(), q, k, p);
            let p = &mut p[..entries.len() * lanes];
            for p in p.chunks_exact_mut(lanes) {
                for v in 0..MV {
                    let at = v * S::F32_LANES;
                    let rest = simd.sub_f32s(load::<S>(&p[at..]), load::<S>(&total[at..]));
                    store::<S>(&mut p[at..], exp2(simd, rest));
                }
            }
            if entries.start < every.start || entries.end > every.end {
                self.job.mask(&rows, &entries, p, lanes, 0.0);
            }
            for (e, p) in entries.zip(p.chunks_exact(lanes)) {
                let mut sum = load::<S>(p);
                for v in 1..MV {
                    sum = simd.add_f32s(sum, load::<S>(&p[v * S::F32_LANES..]));
                }
                self.out.add(self.head, e, simd.reduce_sum_f32s(sum));
            }
        }
    }
}
