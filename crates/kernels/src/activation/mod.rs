//! `silu(gate) * up`, the gated activation of a Llama-style MLP.

pub(crate) mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
pub(crate) mod reference;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use crate::error::{Result, invalid};
use crate::host::values;

/// `gate * sigmoid(gate) * up`, element by element.
///
/// Shapes: `gate` and `up` `[rows, width]` f32; the result has the same shape.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        return invalid("silu_mul", format!("gate is {:?}, up is {:?}", gate.dims(), up.dims()));
    }
    on_gpu!(gate, |gpu| cuda::silu_mul(gpu, gate, up));
    let (g, u) = (values::<f32>("silu_mul", gate)?, values::<f32>("silu_mul", up)?);
    let mut out = vec![0f32; g.len()];
    if crate::reference_forced() {
        reference::silu_mul(&g, &u, &mut out);
    } else {
        cpu::silu_mul(&g, &u, &mut out);
    }
    Ok(Tensor::from_vec(out, gate.dims(), gate.device())?)
}
