use pulp::{Simd, WithSimd};

use crate::simd::exp::exp;
use crate::simd::{Arch, load, store};

/// `gate = silu(gate) * up`, on this thread.
pub(crate) fn gated(arch: Arch, gate: &mut [f32], up: &[f32]) {
    arch.dispatch(Span { gate, up });
}

struct Span<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for Span<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = S::F32_LANES;
        let whole = self.gate.len() / lanes * lanes;
        for at in (0..whole).step_by(lanes) {
            let v = silu(simd, load::<S>(&self.gate[at..]));
            store::<S>(&mut self.gate[at..], simd.mul_f32s(v, load::<S>(&self.up[at..])));
        }
        if whole < self.gate.len() {
            let v = silu(simd, simd.partial_load_f32s(&self.gate[whole..]));
            let v = simd.mul_f32s(v, simd.partial_load_f32s(&self.up[whole..]));
            simd.partial_store_f32s(&mut self.gate[whole..], v);
        }
    }
}

/// `x / (1 + e^-x)`.
#[inline(always)]
fn silu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // e^88 is the last power that fits.
    let power = simd.min_f32s(simd.splat_f32s(88.0), simd.neg_f32s(x));
    simd.div_f32s(x, simd.add_f32s(simd.splat_f32s(1.0), exp(simd, power)))
}
