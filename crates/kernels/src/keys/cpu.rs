//! Two sweeps over spans of keys: lengths and sums of directions, then products with the sum of the sums.

use candle_core::Tensor;
use pulp::{Simd, WithSimd};

use super::{Measure, Sizes};
use crate::error::{Result, finite};
use crate::host::values;
use crate::level::Level;
use crate::simd::half::Stored;
use crate::simd::{dot, load, store};
use crate::{rows, threads};

/// Entries of a task. A constant, so that sums do not depend on the number of threads.
const SPAN: usize = 256;

pub(super) fn measure(level: Level, k: &Tensor, sizes: Sizes, what: Measure) -> Result<Vec<f32>> {
    stored!("keys", k.dtype(), T => typed::<T>(level, k, sizes, what))
}

fn typed<T: Stored>(level: Level, k: &Tensor, sizes: Sizes, what: Measure) -> Result<Vec<f32>> {
    let Sizes { heads, entries, dim, .. } = sizes;
    let raw = values::<T::Raw>("keys", k)?;
    let k = T::of(&raw);
    let mut out = vec![0f32; heads * entries];
    let many = rows::many(heads * entries * dim);
    if what == Measure::Length {
        let each = |(at, lengths): (Span, &mut [f32])| {
            level.arch().dispatch(Lengths { k: at.keys(k, sizes), dim, lengths, sum: None });
        };
        threads::each_of(many, spans(&mut out, entries), each);
        return finite("keys", &out).map(|()| out);
    }
    let mut sums = vec![0f32; heads * entries.div_ceil(SPAN) * dim];
    let tasks = spans(&mut out, entries).zip(sums.chunks_exact_mut(dim));
    threads::each_of(many, tasks, |((at, lengths), sum)| {
        level.arch().dispatch(Lengths { k: at.keys(k, sizes), dim, lengths, sum: Some(sum) });
    });
    finite("keys", &out)?;
    let directions: Vec<f32> =
        sums.chunks(entries.div_ceil(SPAN).max(1) * dim).flat_map(|s| direction(s, dim)).collect();
    threads::each_of(many, spans(&mut out, entries), |(at, numbers)| {
        let direction = &directions[at.head * dim..(at.head + 1) * dim];
        level.arch().dispatch(Likeness { k: at.keys(k, sizes), direction, numbers });
    });
    Ok(out)
}

/// Some entries of a head.
struct Span {
    head: usize,
    first: usize,
    count: usize,
}

impl Span {
    fn keys<'a, T: Stored>(&self, k: &'a [T], sizes: Sizes) -> &'a [T] {
        let width = sizes.dim / T::EACH;
        let start = self.head * sizes.capacity + self.first;
        &k[start * width..(start + self.count) * width]
    }
}

/// The numbers `[heads, entries]` span by span.
fn spans(numbers: &mut [f32], entries: usize) -> impl Iterator<Item = (Span, &mut [f32])> {
    numbers.chunks_exact_mut(entries.max(1)).enumerate().flat_map(|(head, row)| {
        let pieces = row.chunks_mut(SPAN).enumerate();
        pieces.map(move |(i, piece)| (Span { head, first: i * SPAN, count: piece.len() }, piece))
    })
}

/// The sum of some sums, divided by its length if it has one.
fn direction(sums: &[f32], dim: usize) -> Vec<f32> {
    let mut all = vec![0f32; dim];
    for sum in sums.chunks_exact(dim) {
        all.iter_mut().zip(sum).for_each(|(all, x)| *all += x);
    }
    let length = all.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        all.iter_mut().for_each(|x| *x /= length);
    }
    all
}

struct Lengths<'a, T> {
    k: &'a [T],
    dim: usize,
    lengths: &'a mut [f32],
    /// Where the keys, each divided by its length, add up.
    sum: Option<&'a mut [f32]>,
}

impl<T: Stored> WithSimd for Lengths<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (dim, lanes) = (self.dim, S::F32_LANES);
        let whole = dim / lanes * lanes;
        let mut wide = vec![0f32; dim];
        for (k, length) in self.k.chunks_exact(dim / T::EACH).zip(self.lengths) {
            let key = match T::as_f32(k) {
                Some(key) => key,
                None => {
                    T::widen(simd, k, &mut wide);
                    &wide
                }
            };
            *length = dot(simd, key, key).sqrt();
            let Some(sum) = self.sum.as_deref_mut().filter(|_| *length > 0.0) else { continue };
            let by = simd.splat_f32s(1.0 / *length);
            for at in (0..whole).step_by(lanes) {
                let more = simd.mul_add_e_f32s(load::<S>(&key[at..]), by, load::<S>(&sum[at..]));
                store::<S>(&mut sum[at..], more);
            }
            for at in whole..dim {
                sum[at] += key[at] / *length;
            }
        }
    }
}

struct Likeness<'a, T> {
    k: &'a [T],
    direction: &'a [f32],
    /// Lengths, which become likeness.
    numbers: &'a mut [f32],
}

impl<T: Stored> WithSimd for Likeness<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let dim = self.direction.len();
        for (k, number) in self.k.chunks_exact(dim / T::EACH).zip(self.numbers) {
            let [product] = T::dots::<S, 1>(simd, k, self.direction, dim);
            *number = if *number > 0.0 { product / *number } else { 0.0 };
        }
    }
}
