//! Root-mean-square normalisation.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use crate::error::{Result, invalid};
use crate::host::values;

/// `x / sqrt(mean(x^2) + eps) * weight`, each row by itself.
///
/// Shapes: `x` `[rows, width]` f32, `weight` `[width]` f32; the result is `[rows, width]`.
/// A tensor `[rows, heads, width]` works too: every head of every row is normalised by itself.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let width = weight.elem_count();
    if x.dims().last() != Some(&width) {
        return invalid("rms_norm", format!("x is {:?}, weight has {width} values", x.dims()));
    }
    let (xs, w) = (values::<f32>("rms_norm", x)?, values::<f32>("rms_norm", weight)?);
    let mut out = vec![0f32; xs.len()];
    if crate::reference_forced() {
        reference::rms_norm(&xs, &w, eps, &mut out);
    } else {
        cpu::rms_norm(&xs, &w, eps, &mut out);
    }
    Ok(Tensor::from_vec(out, x.dims(), x.device())?)
}
