//! Root-mean-square normalisation.

mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use crate::error::{Result, invalid};
use crate::host::values;
use crate::output::zeros;

/// `x / sqrt(mean(x^2) + eps) * weight`, each row by itself.
///
/// Shapes: `x` `[rows, width]` f32, `weight` `[width]` f32; the result is `[rows, width]`.
/// A tensor `[rows, heads, width]` works too: every head of every row is normalised by itself. A width of 0 is an
/// error: such a row has no mean.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let width = weight.elem_count();
    if width == 0 || x.dims().last() != Some(&width) {
        return invalid("rms_norm", format!("x is {:?}, weight has {width} values", x.dims()));
    }
    on_gpu!(x, |gpu| cuda::rms_norm(gpu, x, None, weight, eps));
    let (xs, w) = (values::<f32>("rms_norm", x)?, values::<f32>("rms_norm", weight)?);
    let mut out = zeros(xs.len());
    if crate::reference_forced() {
        reference::rms_norm(&xs, &w, eps, &mut out);
    } else {
        cpu::rms_norm(&xs, &w, eps, &mut out);
    }
    Ok(Tensor::from_vec(out, x.dims(), x.device())?)
}

/// `x += added`, **in place**, and then [`rms_norm`] of the sum.
///
/// Shapes: `x` and `added` `[rows, width]` f32, contiguous. The caller must own `x`: every tensor that shares
/// its storage changes with it.
pub fn add_rms_norm(x: &Tensor, added: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let width = weight.elem_count();
    if width == 0 || x.dims() != added.dims() || x.dims().last() != Some(&width) {
        let what = format!("x is {:?}, added {:?}, weight has {width} values", x.dims(), added.dims());
        return invalid("add_rms_norm", what);
    }
    on_gpu!(x, |gpu| cuda::rms_norm(gpu, x, Some(added), weight, eps));
    crate::residual::add(x, added)?;
    rms_norm(x, weight, eps)
}
