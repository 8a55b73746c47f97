//! Low-rank adapters (Hu et al., LoRA, arXiv 2106.09685).

use candle_core::{Device, Tensor, Var};
use skimlm_core::Result;

use crate::random::Random;

/// The customary scale: alpha is twice the rank.
const SCALE: f64 = 2.0;

/// A product of two thin matrices that is added to a frozen one: `SCALE * up down`.
#[derive(Debug)]
pub(crate) struct Adapter {
    down: Var, // (rank, in)
    up: Var,   // (out, rank)
}

impl Adapter {
    /// Starts as zero.
    pub(crate) fn new(rank: usize, rows: usize, cols: usize, random: &mut Random) -> Result<Self> {
        let values = random.normals(rank * cols, 1.0 / (cols as f32).sqrt());
        Ok(Self {
            down: Var::from_tensor(&Tensor::from_vec(values, (rank, cols), &Device::Cpu)?)?,
            up: Var::zeros((rows, rank), candle_core::DType::F32, &Device::Cpu)?,
        })
    }

    /// `y` and what the adapter makes of `x`.
    pub(crate) fn add(&self, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let thin = x.matmul(&self.down.t()?)?; // (rows, rank)
        Ok((y + (thin.matmul(&self.up.t()?)? * SCALE)?)?)
    }

    /// The matrix that does both.
    pub(crate) fn merged(&self, weight: &Tensor) -> Result<Tensor> {
        Ok((weight + (self.up.matmul(&self.down)? * SCALE)?)?)
    }

    pub(crate) fn trained(&self, name: &str) -> [(String, Var); 2] {
        [(format!("{name}.lora_down"), self.down.clone()), (format!("{name}.lora_up"), self.up.clone())]
    }
}
