use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::numbers;

/// `x W^T` for a weight `[out, in]` that is not trained: candle's own product would compute and hold a
/// gradient of the weight, which costs a third of the work and the memory of all weights again.
pub fn frozen_linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Frozen(weight.clone()))
}

struct Frozen(Tensor);

impl CustomOp1 for Frozen {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = Tensor::from_slice(numbers(x, layout)?, layout.shape(), self.0.device())?;
        let y = x.matmul(&self.0.t()?)?;
        let (storage, _) = y.storage_and_layout();
        match &*storage {
            candle_core::Storage::Cpu(cpu) => Ok((cpu.clone(), y.shape().clone())),
            _ => candle_core::bail!("frozen-linear: a tensor of the processor is expected"),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.contiguous()?.matmul(&self.0)?))
    }
}
