use pulp::{Simd, WithSimd};

use crate::simd::{dot, load, store};

pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    crate::rows::each(out, width, |first, out| {
        let x = &x[first * width..first * width + out.len()];
        crate::simd::arch().dispatch(Rows { x, weight, eps, out });
    });
}

struct Rows<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (width, lanes) = (self.weight.len(), S::F32_LANES);
        for (row, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let scale = 1.0 / (dot(simd, row, row) / width as f32 + self.eps).sqrt();
            let scales = simd.splat_f32s(scale);
            let whole = width / lanes * lanes;
            for at in (0..whole).step_by(lanes) {
                let scaled = simd.mul_f32s(load::<S>(&row[at..]), scales);
                store::<S>(&mut out[at..], simd.mul_f32s(scaled, load::<S>(&self.weight[at..])));
            }
            for at in whole..width {
                out[at] = row[at] * scale * self.weight[at];
            }
        }
    }
}
