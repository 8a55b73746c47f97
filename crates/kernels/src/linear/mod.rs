//! Linear layers over weights that stay in their file format.
//!
//! `y = x W^T`: activations f32, weights in any GGML block format (F32, F16 and BF16 are blocks of
//! one), products and sums on processors in f32.
//!
//! Activations count exactly too, so that results differ from the reference by summation order only,
//! where rows are two to eleven or weights are F32. Otherwise, by level:
//!
//! - From [`crate::Level::Avx2`] on, one row (decoding) in Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K: activations
//!   alone are rounded, to 16 bits, 32 with a scale, which moves a row of results by some 2e-5 of its length.
//! - [`crate::Level::Avx2`] and [`crate::Level::Vnni`], from 12 rows on ([`crate::Level::Amx`] up to 23): activations and
//!   weights are rounded to integers of 16 bits. A slice of at most 256 inputs of a row has a scale, which follows from the
//!   slice's Euclidean norm. A row of results moves by some 2e-4 of its length, as it would if activations were f16;
//!   one huge activation costs those of its slice, no others. Rows whose length is no multiple of 32 are exact.
//! - From 12 rows on ([`crate::Level::Amx`] up to 23), where the level multiplies bytes in one instruction
//!   ([`crate::Level::Vnni`], [`crate::Level::Amx`], [`crate::Level::Avx2`] with AVX-VNNI, [`crate::Level::Dotprod`])
//!   and all weights of a call that become integers there (on x86 all but F32) are in Q4_0, Q4_1, Q5_0, Q5_1, Q8_0,
//!   Q4_K or Q5_K and allow [`Activations::Bits8`]: activations alone are rounded, to 8 bits, 32 with a scale, which
//!   moves a row by a few thousandths.
//! - [`crate::Level::Dotprod`], from 12 rows on, and [`crate::Level::Amx`], from 24: in those formats activations alone are
//!   rounded, to 16 bits, 32 with a scale. In all others [`crate::Level::Dotprod`] is exact, and with [`crate::Level::Amx`]
//!   both factors are sums of two bf16, and a product of two numbers is off by 5e-5 of itself at most.
//!
//! On a GPU products are candle's. Dense weights multiply in their own type, to which activations and results are
//! rounded; beside blocks activations are rounded to 8 bits, 32 with a scale, whatever [`Activations`] says.
//!
//! A row with a NaN or an infinity has no finite result at any level.

mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
mod reference;
#[cfg(test)]
mod tests;
mod weight;

pub use candle_core::quantized::GgmlDType as BlockType;
pub use weight::{Activations, Bytes, Weight};

use candle_core::Tensor;

use crate::error::{Result, invalid};
use crate::host::values;
use crate::output::zeros;
use crate::steps::Steps;

/// `x W^T`.
///
/// Shapes: `x` `[rows, in]` f32, `weight` `[out, in]`; the result is `[rows, out]` f32.
pub fn linear(x: &Tensor, weight: &Weight) -> Result<Tensor> {
    let [out] = linears(x, [weight])?;
    Ok(out)
}

/// Several products of the same rows, as `linear` would give them one by one.
pub fn linears<const N: usize>(x: &Tensor, weights: [&Weight; N]) -> Result<[Tensor; N]> {
    let rows = fitting("linear", x, &weights)?;
    on_gpu!(x, |gpu| cuda::linears(gpu, x, weights));
    let xs = values::<f32>("linear", x)?;
    let mut outs = weights.map(|w| zeros(rows * w.rows()));
    if crate::reference_forced() {
        for (out, weight) in outs.iter_mut().zip(weights) {
            reference::linear(&xs, weight, out)?;
        }
    } else {
        cpu::products(crate::level::current(), &xs, rows, &weights, &mut outs)?;
    }
    let tensors = outs
        .into_iter()
        .zip(weights)
        .map(|(out, w)| Ok(Tensor::from_vec(out, (rows, w.rows()), x.device())?))
        .collect::<Result<Vec<_>>>()?;
    tensors.try_into().or_else(|_| invalid("linear", "an impossible number of outputs".into()))
}

/// `silu(x G^T) * (x U^T)`, the first half of a gated MLP: on a processor without a matrix of the second product.
///
/// Shapes: `x` `[rows, in]` f32, `gate` and `up` `[out, in]`; the result is `[rows, out]` f32.
pub fn gated(x: &Tensor, gate: &Weight, up: &Weight) -> Result<Tensor> {
    let rows = fitting("gated", x, &[gate, up])?;
    if gate.rows() != up.rows() {
        return invalid("gated", format!("the gate has {} outputs, up has {}", gate.rows(), up.rows()));
    }
    on_gpu!(x, |gpu| {
        let [gate, up] = cuda::linears(gpu, x, [gate, up])?;
        crate::activation::cuda::silu_mul(gpu, &gate, &up)
    });
    let xs = values::<f32>("gated", x)?;
    let mut out = zeros(rows * gate.rows());
    if crate::reference_forced() {
        reference::gated(&xs, gate, up, &mut out)?;
    } else {
        cpu::gated(crate::level::current(), &xs, rows, gate, up, &mut out)?;
    }
    Ok(Tensor::from_vec(out, (rows, gate.rows()), x.device())?)
}

/// The number of rows of `x`, if its width is that of every weight.
fn fitting(op: &'static str, x: &Tensor, weights: &[&Weight]) -> Result<usize> {
    let (rows, width) = x.dims2()?;
    match weights.iter().find(|w| w.cols() != width) {
        Some(w) => invalid(op, format!("x is [{rows}, {width}], the weight is [{}, {}]", w.rows(), w.cols())),
        None => Ok(rows),
    }
}

/// The rows `ids` of a weight, dequantised: an embedding look-up.
///
/// Shapes: `weight` `[vocabulary, width]`; the result is `[ids.len(), width]` f32. An id beyond the
/// vocabulary is an error.
pub fn embed(ids: &[u32], weight: &Weight, device: &candle_core::Device) -> Result<Tensor> {
    let width = weight.cols();
    if let Some(id) = ids.iter().find(|&&id| id as usize >= weight.rows()) {
        return invalid("embed", format!("id {id} of a vocabulary of {}", weight.rows()));
    }
    let mut out = vec![0f32; ids.len() * width];
    if crate::reference_forced() {
        reference::embed(ids, weight, &mut out)?;
    } else {
        cpu::embed(crate::level::current(), ids, weight, &mut out)?;
    }
    Ok(Tensor::from_vec(out, (ids.len(), width), device)?)
}

/// [`embed`] of the token that the next of some steps reads, `[1, width]`.
///
/// On a GPU the look-up is from a copy there, that of the products if there is one. Another one is made at first use,
/// where it takes a quarter of the free memory at most, as far as the driver tells it.
pub fn embed_ahead(steps: &Steps, weight: &Weight) -> Result<Tensor> {
    on_gpu!(&steps.token, |gpu| {
        if !weight.is_on_gpu() {
            let bytes = (weight.rows() * weight.row_bytes()) as u64;
            if let Some((_, free)) = crate::device::memory(steps.token.device())
                && bytes > free / 4
            {
                let what = format!(
                    "steps ahead of the host: a copy of the embedding takes {bytes} bytes, more than a quarter of the \
                     {free} that are free"
                );
                return Err(crate::error::Error::Unsupported { op: "embed", what });
            }
        }
        cuda::embed(gpu, weight, &steps.token)
    });
    let ids = values::<u32>("embed", &steps.token)?;
    embed(&ids, weight, steps.token.device())
}
