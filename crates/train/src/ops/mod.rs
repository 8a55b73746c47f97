//! The operations of the trainer, each with a gradient.
//!
//! The engine's fused kernels have none, and candle's unfused forms spend most of a small model's step
//! on temporaries. So each operation is a fused form with its gradient by hand, on the processor, which is where
//! models are trained. Beside it, for tests alone, stands `plain`, a composition of tensor operations that candle
//! differentiates; tests compare values and gradients of the two.

mod attention;
mod frozen;
mod gate;
mod lanes;
mod norm;
mod rotate;
#[cfg(test)]
mod tests;

pub use attention::{Heads, attention};
pub use frozen::frozen_linear;
pub use gate::silu_mul;
pub use norm::rms_norm;
pub use rotate::{Turns, rotate};

use candle_core::{CpuStorage, Layout, Result, Tensor};

/// The numbers of an argument, which the caller has made contiguous.
fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(all), Some((start, end))) => Ok(&all[start..end]),
        _ => candle_core::bail!("the trainer's operations take contiguous f32 tensors"),
    }
}

/// A copy of a tensor's numbers.
fn copied(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_vec1::<f32>()
}
