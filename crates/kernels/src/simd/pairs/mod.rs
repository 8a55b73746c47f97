//! Products of 16-bit integers, two in each lane of 32 bits: twice as many in a cycle as of f32, on
//! processors that have AVX2, or AVX-512 with VNNI.

mod avx2;
mod vnni;

use std::array::from_fn;

use pulp::Simd;
use pulp::x86::V3;

pub(crate) use avx2::Avx2;
pub(crate) use vnni::Vnni;

use super::store;
use crate::level::Level;

/// Lanes of the widest vector.
pub(crate) const MOST: usize = 16;

/// Vectors of integers and of numbers.
pub(crate) type Ints<P> = <<P as Pairs>::Simd as Simd>::i32s;
pub(crate) type Numbers<P> = <<P as Pairs>::Simd as Simd>::f32s;

/// Proof that the processor has the instructions, and those of them that [`Simd`] lacks.
pub(crate) trait Pairs: Copy {
    type Simd: Simd;

    /// Numbers in a vector.
    const LANES: usize = <Self::Simd as Simd>::F32_LANES;

    fn simd(self) -> Self::Simd;

    /// The narrower instructions, which all have.
    fn avx2(self) -> V3;

    /// `acc + a.low * b.low + a.high * b.high` in each lane, of signed 16-bit halves; wraps.
    fn dot(self, acc: Ints<Self>, a: Ints<Self>, b: Ints<Self>) -> Ints<Self>;

    /// Integers as numbers.
    fn number(self, x: Ints<Self>) -> Numbers<Self>;

    /// Numbers as the nearest integers; NaN and what does not fit become the smallest integer.
    fn nearest(self, x: Numbers<Self>) -> Ints<Self>;

    /// `2^x` within 3e-6 of itself, a tenth of what a weight loses in 15 bits: a third of the work of
    /// [`super::exp::exp2`]. Exactly 1 for 0, 0 for negative infinity and what is too small, NaN for NaN.
    fn power(self, x: Numbers<Self>) -> Numbers<Self>;

    /// The largest lane of absolute values as [`magnitude`] has them.
    fn peak(self, x: <Self::Simd as Simd>::u32s) -> f32;

    /// Writes a vector's integers, saturated to 16 bits.
    fn narrow(self, x: Ints<Self>, to: &mut [i16]);

    /// `to[c * step + r] = from[r][c]` for as many rows as a vector has lanes.
    fn columns(self, from: &[[i32; 16]; MOST], to: &mut [i32], step: usize);

    /// Runs `work` compiled for these instructions.
    fn run<W: WithPairs>(self, work: W) -> W::Output;
}

/// Work on pairs. Everything it calls must be `inline(always)`.
pub(crate) trait WithPairs {
    type Output;
    fn with_pairs<P: Pairs>(self, pairs: P) -> Self::Output;
}

/// Minimax polynomial of `2^f` for `0 <= f < 1`, highest power first.
const POWERS: [f32; 5] = [1.342_668_5e-2, 5.224_247_3e-2, 0.241_280_2, 0.693_044_84, 1.0];

/// The instructions of a level.
#[derive(Clone, Copy)]
pub(crate) enum Integers {
    Avx2(Avx2<false>),
    Fused(Avx2<true>),
    Vnni(Vnni),
}

impl Integers {
    /// Those that the level multiplies many rows with. AVX-512 without VNNI gains nothing over f32.
    pub(crate) fn find(level: Level) -> Option<Self> {
        match level {
            Level::Avx2 => Avx2::<true>::find().map(Self::Fused).or_else(|| Avx2::<false>::find().map(Self::Avx2)),
            Level::Vnni | Level::Amx => Vnni::find().map(Self::Vnni),
            _ => None,
        }
    }

    /// Runs `work` compiled for the instructions.
    pub(crate) fn run<W: WithPairs>(self, work: W) -> W::Output {
        match self {
            Self::Avx2(pairs) => pairs.run(work),
            Self::Fused(pairs) => pairs.run(work),
            Self::Vnni(pairs) => pairs.run(work),
        }
    }
}

/// The bits of the absolute values: of positive floats they are ordered as the numbers, with
/// infinity and NaN on top.
#[inline(always)]
pub(crate) fn magnitude<S: Simd>(simd: S, x: S::f32s) -> S::u32s {
    simd.and_u32s(simd.transmute_u32s_f32s(x), simd.splat_u32s(0x7fff_ffff))
}

/// Lanes of two 16-bit halves.
#[inline(always)]
pub(crate) fn join<S: Simd>(simd: S, low: S::i32s, high: S::i32s) -> S::i32s {
    let low = simd.and_u32s(simd.transmute_u32s_i32s(low), simd.splat_u32s(0xffff));
    let high = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_i32s(high), simd.splat_u32s(16));
    simd.transmute_i32s_u32s(simd.or_u32s(low, high))
}

/// Sums of integers; they wrap.
#[inline(always)]
pub(crate) fn add<S: Simd>(simd: S, a: S::i32s, b: S::i32s) -> S::i32s {
    simd.transmute_i32s_u32s(simd.add_u32s(simd.transmute_u32s_i32s(a), simd.transmute_u32s_i32s(b)))
}

/// Writes a vector of integers to the start of `to`.
#[inline(always)]
pub(crate) fn keep<S: Simd>(simd: S, to: &mut [i32], x: S::i32s) {
    store::<S>(bytemuck::cast_slice_mut(to), simd.transmute_f32s_i32s(x));
}

/// `acc[j][v] += sum over k of the pairs a[j][k * step] . b[k][v]`: the integer twin of
/// [`super::outer::outer`].
///
/// # Safety
/// Every `a[j]` must be readable at `0, step, .. (count - 1) * step` and `b` for `count * MV * P::LANES`
/// integers.
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) unsafe fn outer<P: Pairs, const NR: usize, const MV: usize>(
    pairs: P,
    mut acc: [[Ints<P>; MV]; NR],
    count: usize,
    a: [*const i32; NR],
    step: usize,
    b: *const i32,
) -> [[Ints<P>; MV]; NR] {
    for k in 0..count {
        // SAFETY: `k < count`, and the caller vouches for that many columns and vectors.
        unsafe {
            let b: [Ints<P>; MV] = from_fn(|v| b.add((k * MV + v) * P::LANES).cast::<Ints<P>>().read_unaligned());
            for j in 0..NR {
                let x = pairs.simd().splat_i32s(*a[j].add(k * step));
                for v in 0..MV {
                    acc[j][v] = pairs.dot(acc[j][v], x, b[v]);
                }
            }
        }
    }
    acc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::load;

    /// All that this processor has.
    fn all() -> Vec<Integers> {
        let found = [
            Avx2::<false>::find().map(Integers::Avx2),
            Avx2::<true>::find().map(Integers::Fused),
            Vnni::find().map(Integers::Vnni),
        ];
        for (found, name) in found.iter().zip(["AVX2", "AVX-VNNI", "AVX-512 VNNI"]) {
            if found.is_none() {
                println!("skipped: no {name}");
            }
        }
        found.into_iter().flatten().collect()
    }

    struct One(i16, i16);

    impl WithPairs for One {
        type Output = i32;

        #[inline(always)]
        fn with_pairs<P: Pairs>(self, pairs: P) -> i32 {
            let simd = pairs.simd();
            let pair = |x: i16| simd.splat_i32s(i32::from(x) << 16 | i32::from(x as u16));
            let mut out = [0; MOST];
            keep(simd, &mut out, pairs.dot(simd.splat_i32s(1), pair(self.0), pair(self.1)));
            out[0]
        }
    }

    struct Powers<'a>(&'a mut [f32]);

    impl WithPairs for Powers<'_> {
        type Output = ();

        #[inline(always)]
        fn with_pairs<P: Pairs>(self, pairs: P) {
            for x in self.0.chunks_exact_mut(P::LANES) {
                let v = pairs.power(load::<P::Simd>(x));
                store::<P::Simd>(x, v);
            }
        }
    }

    /// Rounds, narrows, joins and finds the largest, all at once.
    struct Round<'a>(&'a [f32], &'a mut [i16], &'a mut [i32]);

    impl WithPairs for Round<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_pairs<P: Pairs>(self, pairs: P) -> f32 {
            let simd = pairs.simd();
            let mut peak = simd.splat_u32s(0);
            let outs = self.1.chunks_exact_mut(P::LANES).zip(self.2.chunks_exact_mut(P::LANES));
            for (x, (halves, joined)) in self.0.chunks_exact(P::LANES).zip(outs) {
                let x = load::<P::Simd>(x);
                peak = simd.max_u32s(peak, magnitude(simd, x));
                let ints = pairs.nearest(x);
                pairs.narrow(ints, halves);
                keep(simd, joined, join(simd, ints, add(simd, ints, simd.splat_i32s(1))));
            }
            pairs.peak(peak)
        }
    }

    struct Columns<'a>(&'a [[i32; 16]; MOST], &'a mut [i32]);

    impl WithPairs for Columns<'_> {
        type Output = usize;

        #[inline(always)]
        fn with_pairs<P: Pairs>(self, pairs: P) -> usize {
            pairs.columns(self.0, self.1, 20);
            P::LANES
        }
    }

    #[test]
    fn powers_are_as_good_as_weights_need() {
        for simd in all() {
            let xs: Vec<f32> = (0..64_000).map(|i| -100.0 + i as f32 * 0.0025).collect();
            let mut out = xs.clone();
            simd.run(Powers(&mut out));
            for (&x, &got) in xs.iter().zip(&out) {
                assert!((f64::from(got) / f64::from(x).exp2() - 1.0).abs() < 3.1e-6, "2^{x} = {got}");
            }
            let mut ends = [0.0f32; MOST];
            ends[..5].copy_from_slice(&[0.0, f32::NEG_INFINITY, f32::MIN, f32::NAN, -127.5]);
            simd.run(Powers(&mut ends));
            assert_eq!(ends[..3], [1.0, 0.0, 0.0]);
            assert!(ends[3].is_nan() && ends[4] < 1e-38);
        }
    }

    #[test]
    fn halves_are_signed_and_added() {
        for simd in all() {
            assert_eq!(simd.run(One(-3, 5)), -29);
            assert_eq!(simd.run(One(32767, 32767)), 2 * 32767 * 32767 + 1);
            assert_eq!(simd.run(One(-32768, 32767)), -2 * 32768 * 32767 + 1);
        }
    }

    #[test]
    fn numbers_become_the_nearest_integers() {
        let xs: Vec<f32> = (0..64).map(|i| (i - 30) as f32 * 1733.7).collect();
        for simd in all() {
            let (mut halves, mut joined) = ([0i16; 64], [0i32; 64]);
            assert_eq!(simd.run(Round(&xs, &mut halves, &mut joined)), xs[63]);
            for ((x, &half), &pair) in xs.iter().zip(&halves).zip(&joined) {
                let nearest = x.round_ties_even() as i32;
                assert_eq!(i32::from(half), nearest.clamp(-32768, 32767), "{x}");
                assert_eq!(pair, (nearest + 1) << 16 | nearest & 0xffff, "{x}");
            }
            let mut odd = xs.clone();
            odd[37] = f32::NAN;
            assert!(simd.run(Round(&odd, &mut halves, &mut joined)).is_nan());
        }
    }

    #[test]
    fn rows_become_columns() {
        let from: [[i32; 16]; MOST] = from_fn(|r| from_fn(|c| (100 * r + c) as i32));
        for simd in all() {
            let mut to = [-1; 15 * 20 + MOST];
            let lanes = simd.run(Columns(&from, &mut to));
            for (i, &got) in to.iter().enumerate() {
                let (c, r) = (i / 20, i % 20);
                assert_eq!(got, if r < lanes { (100 * r + c) as i32 } else { -1 }, "row {r}, column {c}");
            }
        }
    }
}
