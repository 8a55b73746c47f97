use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::lanes::exp;
use super::{copied, numbers};

/// `gate * sigmoid(gate) * up`, both of one shape.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.contiguous()?.apply_op2(&up.contiguous()?, Gate)
}

/// The same from candle's operations.
#[cfg(test)]
pub(super) fn plain(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

struct Gate;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "silu-mul"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (numbers(gate, gate_layout)?, numbers(up, up_layout)?);
        let mut out = vec![0f32; gate.len()];
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || out.iter_mut().zip(gate.iter().zip(up)).for_each(|(out, (g, u))| *out = g * sigmoid(*g) * u),
        );
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }

    fn bwd(&self, gate: &Tensor, up: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (mut gates, mut ups, grads) = (copied(gate)?, copied(up)?, copied(grad)?);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((g, u), grad) in gates.iter_mut().zip(&mut ups).zip(&grads) {
                    let s = sigmoid(*g);
                    let (du, dg) = (grad * *g * s, grad * *u * s * (1.0 + *g * (1.0 - s)));
                    (*g, *u) = (dg, du);
                }
            },
        );
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device()).map(Some);
        Ok((tensor(gates, gate)?, tensor(ups, up)?))
    }
}
