//! Products of 16-bit integers, two in each lane of 32 bits: as many instructions as for products of f32 with AVX2,
//! half as many with AVX-VNNI or with AVX-512 and VNNI.

mod avx2;
mod round;
mod vnni;

use std::array::from_fn;

use pulp::Simd;
use pulp::x86::V3;

pub(crate) use avx2::Avx2;
pub(crate) use round::round;
pub(crate) use vnni::Vnni;

use super::{load, store};
use crate::level::Level;

/// Lanes of the widest vector.
pub(crate) const MOST: usize = 16;

/// Columns that [`Pairs::columns`] makes.
pub(crate) const COLUMNS: usize = 16;

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

    /// `acc` and the products of four unsigned bytes of `a` and four signed ones of `b` in each lane; wraps.
    fn dot_bytes(self, acc: Ints<Self>, a: Ints<Self>, b: Ints<Self>) -> Ints<Self>;

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

    /// `to[c * step + r] = from[r][c]` for as many rows as a vector has lanes, and columns while there is room.
    fn columns(self, from: &[[i32; COLUMNS]; MOST], to: &mut [i32], step: usize);

    /// Runs `work` compiled for these instructions.
    fn run<W: WithPairs>(self, work: W) -> W::Output;
}

/// What the lanes of two factors hold.
pub(crate) trait Packing {
    /// Integers in a lane.
    const EACH: usize;

    /// `acc` and the products of a lane's integers.
    fn dot<P: Pairs>(pairs: P, acc: Ints<P>, a: Ints<P>, b: Ints<P>) -> Ints<P>;
}

/// Two integers of 16 bits, signed in both factors.
pub(crate) struct Halves;

impl Packing for Halves {
    const EACH: usize = 2;

    #[inline(always)]
    fn dot<P: Pairs>(pairs: P, acc: Ints<P>, a: Ints<P>, b: Ints<P>) -> Ints<P> {
        pairs.dot(acc, a, b)
    }
}

/// Four integers of 8 bits, without a sign in the first factor and with one in the second.
pub(crate) struct Quarters;

impl Packing for Quarters {
    const EACH: usize = 4;

    #[inline(always)]
    fn dot<P: Pairs>(pairs: P, acc: Ints<P>, a: Ints<P>, b: Ints<P>) -> Ints<P> {
        pairs.dot_bytes(acc, a, b)
    }
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

    /// Whether products of bytes are one instruction.
    pub(crate) fn has_bytes(self) -> bool {
        !matches!(self, Self::Avx2(_))
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

/// A vector of integers read from the start of `from`.
#[inline(always)]
pub(crate) fn vector<S: Simd>(simd: S, from: &[i32]) -> S::i32s {
    simd.transmute_i32s_f32s(load::<S>(bytemuck::cast_slice(from)))
}

/// Writes a vector of integers to the start of `to`.
#[inline(always)]
pub(crate) fn keep<S: Simd>(simd: S, to: &mut [i32], x: S::i32s) {
    store::<S>(bytemuck::cast_slice_mut(to), simd.transmute_f32s_i32s(x));
}

/// `acc[j][v] += sum over k of the lanes a[j][k * step] . b[k][v]`: the integer twin of
/// [`super::outer::outer`].
///
/// # Safety
/// Every `a[j]` must be readable at `0, step, .. (count - 1) * step` and `b` for `count * MV * P::LANES`
/// integers.
#[allow(unsafe_code)]
#[inline(always)]
pub(crate) unsafe fn outer<P: Pairs, L: Packing, const NR: usize, const MV: usize>(
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
                    acc[j][v] = L::dot(pairs, acc[j][v], x, b[v]);
                }
            }
        }
    }
    acc
}

#[cfg(test)]
mod tests;
