use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use skimlm_core::Rotary;

use super::{copied, numbers};

/// Cosines and sines of the rows of a batch, `[rows, pairs]` each. Number `i` of a head is paired with
/// number `i + dim / 2`.
#[derive(Debug, Clone)]
pub struct Turns {
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
    pairs: usize,
}

impl Turns {
    /// The angles of rows at some positions.
    pub fn new(rotary: &Rotary, positions: &[u32]) -> Self {
        let angle = |f: fn(f64) -> f64| {
            let each =
                |&p: &u32| rotary.inv_freq.iter().map(move |&by| (f(f64::from(p) * by)) as f32 * rotary.magnitude);
            Arc::new(positions.iter().flat_map(each).collect::<Vec<f32>>())
        };
        Self { cos: angle(f64::cos), sin: angle(f64::sin), pairs: rotary.inv_freq.len() }
    }

    fn back(&self) -> Self {
        Self { sin: Arc::new(self.sin.iter().map(|s| -s).collect()), ..self.clone() }
    }
}

/// Rotates every head of `x` `[rows, heads * dim]`.
pub fn rotate(x: &Tensor, dim: usize, turns: &Turns) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Rotate { dim, turns: turns.clone() })
}

/// The same from candle's operations.
#[cfg(test)]
pub(super) fn plain(x: &Tensor, dim: usize, turns: &Turns) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let table = |of: &Arc<Vec<f32>>| Tensor::from_slice(of, (rows, 1, turns.pairs), x.device());
    let (cos, sin) = (table(&turns.cos)?, table(&turns.sin)?);
    let heads = x.reshape((rows, width / dim, dim))?;
    let (a, b) = (heads.narrow(2, 0, turns.pairs)?, heads.narrow(2, dim / 2, turns.pairs)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
    Tensor::cat(&[first, second], 2)?.reshape((rows, width))
}

struct Rotate {
    dim: usize,
    turns: Turns,
}

impl Rotate {
    fn run(&self, x: &mut [f32], rows: usize) {
        let Self { dim, turns: Turns { cos, sin, pairs } } = self;
        let width = x.len() / rows.max(1);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (row, x) in x.chunks_exact_mut(width.max(1)).enumerate() {
                    let (cos, sin) = (&cos[row * pairs..][..*pairs], &sin[row * pairs..][..*pairs]);
                    for head in x.chunks_exact_mut(*dim) {
                        let (a, b) = head.split_at_mut(dim / 2);
                        for ((a, b), (c, s)) in a.iter_mut().zip(b).zip(cos.iter().zip(sin)) {
                            (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
                        }
                    }
                }
            },
        );
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut out = numbers(x, layout)?.to_vec();
        self.run(&mut out, layout.shape().dims2()?.0);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut values = copied(grad)?;
        Self { dim: self.dim, turns: self.turns.back() }.run(&mut values, x.dim(0)?);
        Ok(Some(Tensor::from_vec(values, x.shape(), x.device())?))
    }
}
