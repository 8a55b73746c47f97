use pulp::{Simd, WithSimd};

use super::{Pairing, reference};

pub(super) fn rotate(x: &mut [f32], heads: usize, dim: usize, cos: &[f32], sin: &[f32], pairing: Pairing) {
    let width = heads * dim;
    let half = cos.len() / (x.len() / width.max(1)).max(1);
    if half == 0 {
        return;
    }
    crate::rows::each(x, width, |first, x| {
        let angles = first * half..(first + x.len() / width) * half;
        let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
        crate::simd::arch().dispatch(Rows { x, heads, dim, cos, sin, pairing });
    });
}

/// The plain loops, which become vector code in here.
struct Rows<'a> {
    x: &'a mut [f32],
    heads: usize,
    dim: usize,
    cos: &'a [f32],
    sin: &'a [f32],
    pairing: Pairing,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        reference::rotate(self.x, self.heads, self.dim, self.cos, self.sin, self.pairing);
    }
}
