use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Seeded draws whose sequence is part of the format: a case made today is made again by any later version, which no
/// library of distributions promises.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// An independent stream for each label.
    pub(crate) fn new(label: &str, seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        for (i, byte) in label.bytes().enumerate() {
            key[8 + i % 24] ^= byte;
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// From 0 to below `n`; 0 for an `n` of 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    pub(crate) fn digits(&mut self, n: u32) -> String {
        let low = 10_usize.pow(n - 1);
        (low + self.below(9 * low)).to_string()
    }

    pub(crate) fn letters(&mut self, n: usize, first: u8) -> String {
        (0..n).map(|_| char::from(first + self.below(26) as u8)).collect()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `n` distinct items in random order; fewer where the pool has fewer.
    pub(crate) fn sample<T: Clone>(&mut self, pool: &[T], n: usize) -> Vec<T> {
        let mut items = pool.to_vec();
        self.shuffle(&mut items);
        items.truncate(n);
        items
    }

    /// `n` distinct places of 40 even ones from 0 to 1, as RULER spreads its needles.
    pub(crate) fn depths(&mut self, n: usize) -> Vec<f32> {
        let grid: Vec<f32> = (0..40).map(|i| i as f32 / 39.0).collect();
        self.sample(&grid, n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_fixed() {
        let mut random = Random::new("needle", 7);
        let first: Vec<_> = (0..6).map(|_| random.below(100)).collect();
        assert_eq!(first, FIRST);
        let mut other = Random::new("multikey", 7);
        assert_ne!((0..6).map(|_| other.below(100)).collect::<Vec<_>>(), FIRST);
        assert_eq!(random.below(0), 0);
    }

    const FIRST: [usize; 6] = [57, 26, 76, 55, 10, 31];

    #[test]
    fn samples_are_distinct_and_bounded() {
        let mut random = Random::new("", 1);
        let mut drawn = random.sample(&(0..10).collect::<Vec<_>>(), 20);
        drawn.sort_unstable();
        assert_eq!(drawn, (0..10).collect::<Vec<_>>());
        for _ in 0..200 {
            assert_eq!(random.digits(4).len(), 4);
            assert!(random.letters(5, b'A').bytes().all(|b| b.is_ascii_uppercase()));
        }
        assert!(random.depths(12).iter().all(|depth| (0.0..=1.0).contains(depth)));
    }
}
