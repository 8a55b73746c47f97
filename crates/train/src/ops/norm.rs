use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::lanes::{add, dot};
use super::{copied, numbers};

/// `x / sqrt(mean(x^2) + eps) * weight`, row by row: `x` `[rows, width]`, `weight` `[width]`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op2(weight, Norm { eps })
}

/// The same from candle's operations.
#[cfg(test)]
pub(super) fn plain(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(1)?;
    x.broadcast_div(&(mean + f64::from(eps))?.sqrt()?)?.broadcast_mul(weight)
}

struct Norm {
    eps: f32,
}

impl Norm {
    /// What a row is multiplied with.
    #[inline(always)]
    fn factor(&self, row: &[f32]) -> f32 {
        1.0 / (dot(row, row) / row.len() as f32 + self.eps).sqrt()
    }

    #[inline(always)]
    fn forward(&self, x: &[f32], weight: &[f32], out: &mut [f32]) {
        for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
            let by = self.factor(x);
            out.iter_mut().zip(x.iter().zip(weight)).for_each(|(out, (x, weight))| *out = x * by * weight);
        }
    }

    #[inline(always)]
    fn backward(&self, x: &[f32], weight: &[f32], grad: &[f32], dx: &mut [f32], dw: &mut [f32]) {
        let width = weight.len();
        let mut scaled = vec![0f32; width];
        for ((x, grad), dx) in x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(dx.chunks_exact_mut(width)) {
            let by = self.factor(x);
            scaled.iter_mut().zip(grad.iter().zip(weight)).for_each(|(to, (grad, weight))| *to = grad * weight);
            let pull = dot(&scaled, x) * by * by * by / width as f32;
            for ((dx, scaled), x) in dx.iter_mut().zip(&scaled).zip(x) {
                *dx = scaled * by - x * pull;
            }
            scaled.iter_mut().zip(grad.iter().zip(x)).for_each(|(to, (grad, x))| *to = grad * x);
            add(dw, by, &scaled);
        }
    }
}

impl CustomOp2 for Norm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (numbers(x, x_layout)?, numbers(weight, weight_layout)?);
        let mut out = vec![0f32; x.len()];
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || self.forward(x, weight, &mut out),
        );
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (xs, ws, grads) = (copied(x)?, copied(weight)?, copied(grad)?);
        let (mut dx, mut dw) = (vec![0f32; xs.len()], vec![0f32; ws.len()]);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || self.backward(&xs, &ws, &grads, &mut dx, &mut dw),
        );
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device()).map(Some);
        Ok((tensor(dx, x)?, tensor(dw, weight)?))
    }
}
