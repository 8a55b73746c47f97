//! Repeatable draws: a stream is named by a seed and a step, so that a resumed run draws what an
//! uninterrupted one would have.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of draws.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// A whole number below `end`, which is at most 2^32.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.0.next_u32()) * end as u64) >> 32) as usize
    }

    /// Uniform in 0..1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Normal numbers around 0 (Box and Muller).
    pub(crate) fn normals(&mut self, n: usize, deviation: f32) -> Vec<f32> {
        let mut one = || {
            let (a, b) = (1.0 - self.unit(), self.unit());
            (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos() * deviation
        };
        (0..n).map(|_| one()).collect()
    }

    /// `count` different whole numbers below `end`, in random order.
    pub(crate) fn choose(&mut self, count: usize, end: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..end).collect();
        for i in 0..count.min(end) {
            let j = i + self.below(end - i);
            all.swap(i, j);
        }
        all.truncate(count);
        all
    }
}
