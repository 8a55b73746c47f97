//! Linear layers over weights that stay in their file format.
//!
//! `y = x W^T`: activations f32, weights in any GGML block format (F32, F16 and BF16 are blocks of
//! one), products and sums in f32. Every implementation multiplies the dequantised weight with the
//! f32 activation; activations are never quantised, so results differ from the reference by
//! summation order only.

mod reference;
mod weight;

pub use candle_core::quantized::GgmlDType as BlockType;
pub use weight::{Bytes, Weight};

use candle_core::Tensor;

use crate::error::{Result, invalid};
use crate::host::values;

/// `x W^T`.
///
/// Shapes: `x` `[rows, in]` f32, `weight` `[out, in]`; the result is `[rows, out]` f32.
pub fn linear(x: &Tensor, weight: &Weight) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    if width != weight.cols() {
        return invalid(
            "linear",
            format!("x is [{rows}, {width}], the weight is [{}, {}]", weight.rows(), weight.cols()),
        );
    }
    let mut out = vec![0f32; rows * weight.rows()];
    reference::linear(&values::<f32>("linear", x)?, weight, &mut out)?;
    Ok(Tensor::from_vec(out, (rows, weight.rows()), x.device())?)
}

/// Several products of the same rows, as `linear` would give them one by one.
pub fn linears<const N: usize>(x: &Tensor, weights: [&Weight; N]) -> Result<[Tensor; N]> {
    let outs = weights.iter().map(|w| linear(x, w)).collect::<Result<Vec<_>>>()?;
    outs.try_into().or_else(|_| invalid("linear", "an impossible number of outputs".into()))
}

/// The rows `ids` of a weight, dequantised: an embedding look-up.
///
/// Shapes: `weight` `[vocabulary, width]`; the result is `[ids.len(), width]` f32.
pub fn embed(ids: &[u32], weight: &Weight, device: &candle_core::Device) -> Result<Tensor> {
    let width = weight.cols();
    let mut out = vec![0f32; ids.len() * width];
    for (&id, row) in ids.iter().zip(out.chunks_exact_mut(width)) {
        weight.dequantize_row(id as usize, row)?;
    }
    Ok(Tensor::from_vec(out, (ids.len(), width), device)?)
}
