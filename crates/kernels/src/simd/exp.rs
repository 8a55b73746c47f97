//! The exponential function on vectors.

use pulp::Simd;

pub(crate) const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// Minimax polynomial of `2^f` for `|f| <= 1/2`, relative error 7.5e-8, highest power first.
const POWERS: [f32; 6] = [1.327_647_2e-3, 9.675_541e-3, 5.550_713_3e-2, 0.240_221_2, 0.693_146_97, 1.0];

/// Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the mantissa.
const ROUND: f32 = 12_582_912.0;

/// `2^x` for `x <= 127`, relative error about 1e-7; anything below -125 gives `2^-125`.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let clamped = simd.max_f32s(simd.splat_f32s(-125.0), x);
    let shifted = simd.add_f32s(clamped, simd.splat_f32s(ROUND));
    let whole = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    compose(simd, x, shifted, simd.sub_f32s(clamped, whole))
}

/// `e^x` for `x <= 88`, as [`exp2`]; anything below -86 gives about `e^-86`.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let clamped = simd.max_f32s(simd.splat_f32s(-86.0), x);
    let shifted = simd.mul_add_e_f32s(clamped, simd.splat_f32s(LOG2_E), simd.splat_f32s(ROUND));
    let whole = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    // x - n ln 2 with ln 2 in two parts: x log2(e) in one rounding would cost digits for large x.
    let rest = simd.mul_add_e_f32s(whole, simd.splat_f32s(-0.693_359_4), clamped);
    let rest = simd.mul_add_e_f32s(whole, simd.splat_f32s(2.121_944_4e-4), rest);
    compose(simd, x, shifted, simd.mul_f32s(rest, simd.splat_f32s(LOG2_E)))
}

/// `2^(n + fraction)`, n in the low bits of `shifted`; NaN where `x` is NaN, which a maximum drops
/// on some processors and whose payload the exponent's addition could turn into a number.
#[inline(always)]
fn compose<S: Simd>(simd: S, x: S::f32s, shifted: S::f32s, fraction: S::f32s) -> S::f32s {
    let mut p = simd.splat_f32s(POWERS[0]);
    for &c in &POWERS[1..] {
        p = simd.mul_add_e_f32s(p, fraction, simd.splat_f32s(c));
    }
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let power = simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(p), exponent));
    simd.select_f32s(simd.equal_f32s(x, x), power, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Each<'a>(&'a mut [f32], bool);

    impl pulp::WithSimd for Each<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for x in self.0.chunks_exact_mut(S::F32_LANES) {
                let v = super::super::load::<S>(x);
                super::super::store::<S>(x, if self.1 { exp2(simd, v) } else { exp(simd, v) });
            }
        }
    }

    #[test]
    fn both_bases_are_within_three_roundings() {
        let xs: Vec<f32> = (0..64_000).map(|i| -80.0 + i as f32 * 0.0025).collect();
        for base2 in [true, false] {
            let mut out = xs.clone();
            crate::simd::arch().dispatch(Each(&mut out, base2));
            for (&x, &got) in xs.iter().zip(&out) {
                let want = if base2 { f64::from(x).exp2() } else { f64::from(x).exp() };
                assert!((f64::from(got) / want - 1.0).abs() < 4e-7, "exp({x}) = {got}, not {want} (base 2: {base2})");
            }
        }
    }

    #[test]
    fn the_ends_are_tiny_and_nan_stays() {
        let mut out = vec![f32::NEG_INFINITY; 64];
        out[1] = f32::NAN;
        out[2] = f32::from_bits(0x7fc0_0001);
        for base2 in [true, false] {
            let mut got = out.clone();
            crate::simd::arch().dispatch(Each(&mut got, base2));
            assert!(got[0] > 0.0 && got[0] < 1e-36, "{}", got[0]);
            assert!(got[1].is_nan() && got[2].is_nan());
        }
    }
}
