//! What a core can multiply at most: a loop of nothing but the level's multiplications, in registers.
//!
//! A yardstick for benches, which time it. The fraction of it that a kernel reaches is the same on a fast
//! machine and on a slow one.

use std::hint::black_box;

use pulp::{Simd, WithSimd};

use crate::level::Level;

/// Sums that wait for none of each other: more than a multiplication takes cycles, times two a cycle.
const SUMS: usize = 12;

/// Does `rounds` times the level's widest multiplications (f32 multiply-add, 16-bit dot products, or squares
/// of numbers that are two bf16 each) on this thread and answers how many operations that were: a product
/// and a sum are two. ARM's products of bytes are not measured: [`Level::Dotprod`] answers for f32.
pub fn multiply(level: Level, rounds: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let (Level::Amx, Some(simd)) = (level, crate::simd::amx::Amx::find()) {
        return simd.run(Squares(rounds));
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = crate::simd::pairs::Integers::find(level) {
        return simd.run(Dots(rounds));
    }
    level.arch().dispatch(Sums(rounds))
}

struct Sums(u64);

impl WithSimd for Sums {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        let (a, b) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(1e-3)));
        let mut sums = [b; SUMS];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, a, b);
            }
        }
        black_box(sums.map(|sum| simd.reduce_sum_f32s(sum)));
        self.0 * (SUMS * S::F32_LANES * 2) as u64
    }
}

#[cfg(target_arch = "x86_64")]
struct Dots(u64);

#[cfg(target_arch = "x86_64")]
impl crate::simd::pairs::WithPairs for Dots {
    type Output = u64;

    #[inline(always)]
    fn with_pairs<P: crate::simd::pairs::Pairs>(self, pairs: P) -> u64 {
        let simd = pairs.simd();
        let a = simd.splat_i32s(black_box(0x0003_0001));
        let all: [_; SUMS] = std::array::from_fn(|i| simd.splat_i32s(black_box(0x0001_0002) + i as i32));
        let mut sums = all;
        for _ in 0..self.0 {
            // Read anew, or the compiler would multiply constants once and for all and only add.
            let a = *black_box(&a);
            for (sum, &b) in sums.iter_mut().zip(&all) {
                *sum = pairs.dot(*sum, a, b);
            }
        }
        black_box(sums);
        self.0 * (SUMS * 2 * P::LANES * 2) as u64
    }
}

#[cfg(target_arch = "x86_64")]
struct Squares(u64);

#[cfg(target_arch = "x86_64")]
impl crate::simd::amx::WithAmx for Squares {
    type Output = u64;

    #[inline(always)]
    fn with_amx(self, simd: crate::simd::amx::Amx) -> u64 {
        use crate::simd::amx::Tiles;
        use crate::simd::strips::{DEPTH, SIDE, Strip};
        let (strips, mut square) = ([<Strip as bytemuck::Zeroable>::zeroed(); 5], [0f32; SIDE * SIDE]);
        let tiles = Tiles::new(simd);
        for _ in 0..self.0 {
            tiles.product(black_box(&strips), &strips, &mut square);
        }
        black_box(square);
        self.0 * (strips.len() * DEPTH * SIDE * SIDE * 2) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_levels_do_more_in_a_round() {
        let done: Vec<u64> = Level::present().into_iter().map(|level| multiply(level, 3)).collect();
        assert!(done.windows(2).all(|pair| pair[0] <= pair[1]) && done[0] == 3 * 12 * 2, "{done:?}");
    }
}
