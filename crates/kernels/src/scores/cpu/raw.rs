//! Raw scores. They are linear in the queries, so rows, and heads that only add up, are folded into
//! one query first: the keys are read once and multiplied once.

use pulp::{Simd, WithSimd};

use super::super::{Heads, asked, weights};
use crate::attention::Sizes;
use crate::level::Level;
use crate::output::Output;
use crate::rows::FEW_PRODUCTS;
use crate::simd::half::Stored;
use crate::threads;

/// Queries that were folded together.
struct Folded {
    kv_head: usize,
    /// Row of the answer it adds to.
    row: usize,
    /// Queries, `[count, dim]`, one answer row each from `row` on.
    q: Vec<f32>,
}

pub(in crate::scores) fn scores<T: Stored>(
    level: Level,
    q: &[f32],
    k: &[T],
    entries: usize,
    scale: f32,
    heads: &Heads,
    sizes: Sizes,
) -> Vec<f32> {
    let Sizes { heads: all, kv_heads, dim, .. } = sizes;
    let group = sizes.group();
    let mut rows = vec![0f32; all * dim];
    for row in q.chunks_exact(all * dim) {
        rows.iter_mut().zip(row).for_each(|(sum, q)| *sum += q * scale);
    }
    let queries = rows.chunks_exact(group * dim).enumerate();
    let (folded, count): (Vec<Folded>, _) = match heads {
        Heads::Sum | Heads::Mean | Heads::Listed(_) | Heads::EachKv => {
            let weights = weights(heads, sizes);
            let fold = |(kv_head, queries): (usize, &[f32])| {
                let mut q = vec![0f32; dim];
                let weighted = weights[kv_head * group..].iter().zip(queries.chunks_exact(dim));
                for (weight, query) in weighted.filter(|(weight, _)| **weight != 0.0) {
                    q.iter_mut().zip(query).for_each(|(sum, x)| *sum += weight * x);
                }
                Folded { kv_head, row: if *heads == Heads::EachKv { kv_head } else { 0 }, q }
            };
            let asked = queries.zip(asked(&weights, sizes)).filter(|(_, asked)| *asked);
            (asked.map(|(queries, _)| fold(queries)).collect(), heads.rows(all, kv_heads))
        }
        Heads::Each | Heads::Max => {
            (queries.map(|(kv_head, q)| Folded { kv_head, row: kv_head * group, q: q.to_vec() }).collect(), all)
        }
    };
    let mut out = vec![0f32; count * entries];
    // SAFETY: a task alone adds to its span of entries.
    #[allow(unsafe_code)]
    let target = unsafe { Output::new(&mut out, entries.max(1)) };
    let work = folded.iter().map(|f| f.q.len()).sum::<usize>() * entries;
    let threads = if work < FEW_PRODUCTS { 1 } else { threads::count() };
    let step = entries.div_ceil(threads * 3).next_multiple_of(64).max(64);
    let run = |start: usize| {
        let range = start..(start + step).min(entries);
        level.arch().dispatch(Span { folded: &folded, k, sizes, range, out: target });
    };
    threads::each(threads > 1, entries.div_ceil(step), |i| run(i * step));
    if *heads == Heads::Max { super::combine(&out, entries, heads, sizes) } else { out }
}

/// All queries against a span of entries.
struct Span<'a, T> {
    folded: &'a [Folded],
    k: &'a [T],
    sizes: Sizes,
    range: std::ops::Range<usize>,
    out: Output<'a>,
}

impl<T: Stored> WithSimd for Span<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sizes { capacity, dim, .. } = self.sizes;
        for folded in self.folded {
            let (base, width) = (folded.kv_head * capacity, dim / T::EACH);
            let k = &self.k[(base + self.range.start) * width..(base + self.range.end) * width];
            for (pair, q) in folded.q.chunks(4 * dim).enumerate() {
                let row = folded.row + pair * 4;
                match q.len() / dim {
                    1 => self.add::<S, 1>(simd, k, q, row),
                    2 => self.add::<S, 2>(simd, k, q, row),
                    3 => self.add::<S, 3>(simd, k, q, row),
                    _ => self.add::<S, 4>(simd, k, q, row),
                }
            }
        }
    }
}

impl<T: Stored> Span<'_, T> {
    /// Adds `H` queries' products to as many rows of the answer.
    #[inline(always)]
    fn add<S: Simd, const H: usize>(&self, simd: S, k: &[T], q: &[f32], row: usize) {
        let dim = self.sizes.dim;
        for (e, k) in self.range.clone().zip(k.chunks_exact(dim / T::EACH)) {
            let sums = T::dots::<S, H>(simd, k, q, dim);
            for (h, sum) in sums.into_iter().enumerate() {
                self.out.add(row + h, e, sum);
            }
        }
    }
}
