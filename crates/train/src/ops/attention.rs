use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::lanes::{add, dot, exp};
use super::{copied, numbers};
use crate::sees::Sees;

/// The heads of an attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heads {
    /// Query heads.
    pub count: usize,
    /// Key and value heads; divides `count`.
    pub kv: usize,
    /// Width of one.
    pub dim: usize,
    /// Factor on `q.k`.
    pub scale: f32,
}

/// `softmax(scale * q k^T) v` over what each row sees.
///
/// Shapes: `q` `[batch * rows, count * dim]`, `k` and `v` `[batch * rows, kv * dim]`, the result as `q`.
/// Time and memory go with the number of pairs that see each other: nothing of `rows x rows` is made.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, sees: &Arc<Sees>) -> Result<Tensor> {
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, Attention { heads, sees: Arc::clone(sees) })
}

/// The same from candle's operations.
#[cfg(test)]
pub(super) fn plain(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, sees: &Sees) -> Result<Tensor> {
    let Heads { count, kv, dim, scale } = heads;
    let rows = sees.rows();
    let batch = q.dim(0)? / rows;
    let split = |x: &Tensor, heads: usize| x.reshape((batch, rows, heads, dim))?.transpose(1, 2)?.contiguous();
    let repeat = |x: Tensor| {
        let shape = (batch, kv, count / kv, rows, dim);
        x.unsqueeze(2)?.broadcast_as(shape)?.contiguous()?.reshape((batch, count, rows, dim))
    };
    let (q, k, v) = (split(q, count)?, repeat(split(k, kv)?)?, repeat(split(v, kv)?)?);
    let logits = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? * f64::from(scale))?;
    let logits = logits.broadcast_add(&sees.mask(batch)?)?;
    let weights = logits.broadcast_sub(&logits.max_keepdim(3)?.detach())?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(3)?)?;
    weights.matmul(&v)?.transpose(1, 2)?.reshape((batch * rows, count * dim))
}

struct Attention {
    heads: Heads,
    sees: Arc<Sees>,
}

impl Attention {
    /// The weights of one row and head over what it sees, into `weights`.
    #[inline(always)]
    fn weigh(&self, q: &[f32], k: &[f32], kv: usize, columns: &[u32], weights: &mut Vec<f32>) {
        let Heads { kv: kv_heads, dim, scale, .. } = self.heads;
        weights.clear();
        weights.extend(columns.iter().map(|&c| dot(q, &k[(c as usize * kv_heads + kv) * dim..][..dim]) * scale));
        let max = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        weights.iter_mut().for_each(|w| *w = exp(*w - max));
        let total = 1.0 / weights.iter().sum::<f32>();
        weights.iter_mut().for_each(|w| *w *= total);
    }

    #[inline(always)]
    fn forward(&self, sequence: usize, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
        let Heads { count, kv: kv_heads, dim, .. } = self.heads;
        let mut weights = Vec::new();
        for (i, (q, out)) in q.chunks_exact(dim).zip(out.chunks_exact_mut(dim)).enumerate() {
            let (row, kv) = (i / count, i % count / (count / kv_heads));
            let columns = self.sees.columns(sequence, row);
            self.weigh(q, k, kv, columns, &mut weights);
            for (&c, &w) in columns.iter().zip(&weights) {
                add(out, w, &v[(c as usize * kv_heads + kv) * dim..][..dim]);
            }
        }
    }

    /// Gradients of one sequence, from its output and the output's gradient.
    #[inline(always)]
    fn backward(&self, sequence: usize, [q, k, v, out, grad]: [&[f32]; 5], [dq, dk, dv]: [&mut [f32]; 3]) {
        let Heads { count, kv: kv_heads, dim, scale } = self.heads;
        let mut weights = Vec::new();
        for (i, (q, dq)) in q.chunks_exact(dim).zip(dq.chunks_exact_mut(dim)).enumerate() {
            let (row, kv) = (i / count, i % count / (count / kv_heads));
            let columns = self.sees.columns(sequence, row);
            self.weigh(q, k, kv, columns, &mut weights);
            let grad = &grad[i * dim..][..dim];
            // The softmax's gradient needs the weighted mean of its inputs' gradients, which is this.
            let mean = dot(&out[i * dim..][..dim], grad);
            for (&c, &w) in columns.iter().zip(&weights) {
                let at = (c as usize * kv_heads + kv) * dim;
                let by = w * (dot(grad, &v[at..][..dim]) - mean) * scale;
                add(dq, by, &k[at..][..dim]);
                add(&mut dk[at..][..dim], by, q);
                add(&mut dv[at..][..dim], w, grad);
            }
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (numbers(q, q_layout)?, numbers(k, k_layout)?, numbers(v, v_layout)?);
        let Heads { count, kv, dim, .. } = self.heads;
        let (width, kv_width) = (self.sees.rows() * count * dim, self.sees.rows() * kv * dim);
        let mut out = vec![0f32; q.len()];
        out.par_chunks_exact_mut(width).enumerate().for_each(|(b, out)| {
            let at = |x: &'_ [f32], width: usize| b * width..((b + 1) * width).min(x.len());
            let (q, k, v) = (&q[at(q, width)], &k[at(k, kv_width)], &v[at(v, kv_width)]);
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || self.forward(b, q, k, v, out),
            );
        });
        Ok((CpuStorage::F32(out), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (qs, ks, vs, outs, grads) = (copied(q)?, copied(k)?, copied(v)?, copied(out)?, copied(grad)?);
        let Heads { count, kv, dim, .. } = self.heads;
        let (width, kv_width) = (self.sees.rows() * count * dim, self.sees.rows() * kv * dim);
        let (mut dq, mut dk, mut dv) = (vec![0f32; qs.len()], vec![0f32; ks.len()], vec![0f32; vs.len()]);
        dq.par_chunks_exact_mut(width)
            .zip(dk.par_chunks_exact_mut(kv_width).zip(dv.par_chunks_exact_mut(kv_width)))
            .enumerate()
            .for_each(|(b, (dq, (dk, dv)))| {
                let (wide, narrow) = (b * width..(b + 1) * width, b * kv_width..(b + 1) * kv_width);
                let from = [&qs[wide.clone()], &ks[narrow.clone()], &vs[narrow], &outs[wide.clone()], &grads[wide]];
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || self.backward(b, from, [dq, dk, dv]),
                );
            });
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device()).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}
