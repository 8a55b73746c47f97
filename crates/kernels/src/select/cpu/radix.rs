use crate::level::Level;
use crate::simd::Scratch;

/// Keys that are looked at together when the chosen ones are collected.
const BLOCK: usize = 16;

/// The indices of the `k` largest scores, ascending; equal scores win by the lower index. Fails with
/// the index of the first score that is not finite.
///
/// Three digits of 11, 11 and 10 bits find the `k`-th largest key; one pass then collects in index
/// order. Nothing is sorted.
pub(crate) fn top_k(level: Level, scores: &[f32], k: usize) -> Result<Vec<u32>, usize> {
    Scratch::with(|scratch| {
        let len = scores.len();
        let words: &mut [u32] = bytemuck::cast_slice_mut(scratch.take(2 * len + 1));
        let (keys, rest) = words.split_at_mut(len);
        if level.arch().dispatch(Keys(scores, keys)) {
            return Err(crate::simd::not_finite(scores).unwrap_or(0));
        }
        if k >= len {
            return Ok((0..len as u32).collect());
        }
        if k == 0 {
            return Ok(Vec::new());
        }
        let (threshold, ties) = threshold(keys, rest, k);
        Ok(level.arch().dispatch(Collect { keys, threshold, ties, k }))
    })
}

/// Scores as keys that order like them, both zeros alike; answers whether one is not finite.
struct Keys<'a>(&'a [f32], &'a mut [u32]);

impl pulp::WithSimd for Keys<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> bool {
        let mut bad = 0u32;
        for (key, &score) in self.1.iter_mut().zip(self.0) {
            // Adding zero turns -0.0 into 0.0 and leaves every other number alone.
            let bits = (score + 0.0).to_bits();
            bad |= u32::from(bits & 0x7f80_0000 == 0x7f80_0000);
            *key = bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000);
        }
        bad != 0
    }
}

/// The `k`-th largest key, and how many of the keys equal to it belong to the `k` largest.
/// `rest` has room for one key more than there are.
fn threshold(keys: &[u32], rest: &mut [u32], k: usize) -> (u32, usize) {
    let (first, above) = digit(&histogram(keys), k);
    let mut wanted = k - above;
    let mut prefix = first << 21;
    // From here on only keys with the digits found so far matter.
    let mut count = 0;
    for &key in keys {
        rest[count] = key;
        count += usize::from(key >> 21 == first);
    }
    for (shift, bits) in [(10, 11), (0, 10)] {
        let mask = (1 << bits) - 1;
        let mut counts = [0u32; 2048];
        for key in &rest[..count] {
            counts[((key >> shift) & mask) as usize] += 1;
        }
        let (found, above) = digit(&counts, wanted);
        wanted -= above;
        prefix |= found << shift;
        let mut kept = 0;
        for at in 0..count {
            let key = rest[at];
            rest[kept] = key;
            kept += usize::from((key >> shift) & mask == found);
        }
        count = kept;
    }
    (prefix, wanted)
}

/// Counts of the top eleven bits. Four tables, or runs of equal digits would wait for each other.
fn histogram(keys: &[u32]) -> [u32; 2048] {
    let mut counts = [[0u32; 2048]; 4];
    let (quads, tail) = keys.as_chunks::<4>();
    for quad in quads {
        for (counts, key) in counts.iter_mut().zip(quad) {
            counts[(key >> 21) as usize] += 1;
        }
    }
    for key in tail {
        counts[0][(key >> 21) as usize] += 1;
    }
    let [mut sum, b, c, d] = counts;
    for (i, sum) in sum.iter_mut().enumerate() {
        *sum += b[i] + c[i] + d[i];
    }
    sum
}

/// The digit of the `wanted`-th largest key, and how many keys have a larger one.
fn digit(counts: &[u32; 2048], wanted: usize) -> (u32, usize) {
    let mut above = 0;
    for (digit, &count) in counts.iter().enumerate().rev() {
        if above + count as usize >= wanted {
            return (digit as u32, above);
        }
        above += count as usize;
    }
    (0, above)
}

/// The indices of all keys above the threshold and of the first `ties` equal to it.
struct Collect<'a> {
    keys: &'a [u32],
    threshold: u32,
    ties: usize,
    k: usize,
}

impl pulp::WithSimd for Collect<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(mut self, _: S) -> Vec<u32> {
        let mut indices = Vec::with_capacity(self.k);
        for (block, keys) in self.keys.chunks(BLOCK).enumerate() {
            let mut any = 0;
            for &key in keys {
                any |= u32::from(key >= self.threshold);
            }
            if any == 0 {
                continue;
            }
            for (i, &key) in keys.iter().enumerate() {
                let tie = key == self.threshold && self.ties > 0;
                self.ties -= usize::from(tie);
                if tie || key > self.threshold {
                    indices.push((block * BLOCK + i) as u32);
                }
            }
        }
        indices
    }
}
