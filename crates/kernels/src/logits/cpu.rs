use pulp::{Simd, WithSimd};

use super::Pick;
use crate::level::Level;
use crate::simd::exp::exp;
use crate::simd::load;

/// Vectors of exponentials that are added up in f32: sums of equal numbers round the same way each time, so that an error
/// grows with their count.
const TOGETHER: usize = 16;

pub(super) fn top(level: Level, logits: &[f32]) -> Pick {
    level.arch().dispatch(Pass(logits))
}

struct Pass<'a>(&'a [f32]);

impl WithSimd for Pass<'_> {
    type Output = Pick;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Pick {
        let (whole, rest) = self.0.split_at(self.0.len() / S::F32_LANES * S::F32_LANES);
        let mut most = simd.splat_f32s(f32::NEG_INFINITY);
        for part in whole.chunks_exact(S::F32_LANES) {
            most = simd.max_f32s(load::<S>(part), most);
        }
        let value = rest.iter().copied().fold(simd.reduce_max_f32s(most), f32::max);
        let index = self.0.iter().position(|&logit| logit == value).unwrap_or(0);
        let mut sum: f64 = rest.iter().map(|&logit| f64::from(logit - value).exp()).sum();
        let value_wide = simd.splat_f32s(value);
        for part in whole.chunks(TOGETHER * S::F32_LANES) {
            let mut sums = simd.splat_f32s(0.0);
            for part in part.chunks_exact(S::F32_LANES) {
                sums = simd.add_f32s(sums, exp(simd, simd.sub_f32s(load::<S>(part), value_wide)));
            }
            sum += f64::from(simd.reduce_sum_f32s(sums));
        }
        Pick { index, value, log_sum: f64::from(value) + sum.ln() }
    }
}
