//! Rotary position embedding by an explicit position vector.
//!
//! Su et al., RoFormer (arXiv 2104.09864). Pair `i` of a head turns by `position * inv_freq[i]`.
//! Angles are computed in f64 and their cosines and sines stored in f32, so positions of a
//! hundred thousand and more stay exact to f32 rounding.

mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Tensor};

use crate::cached;
use crate::error::{Result, invalid};
use crate::host::values;
use crate::steps::Steps;

/// Which two numbers of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// `(i, i + pairs)`, where `pairs` are those that turn (half of the head where all do): "rotate half", the
    /// convention of Hugging Face checkpoints.
    Half,
    /// `(2 i, 2 i + 1)`: the convention of GGUF files of the llama architecture, whose q and k
    /// rows are stored permuted. Scores are the same, since q and k are permuted alike.
    Interleaved,
}

/// The rotation of one kind of layer: frequencies and convention, no positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Angle per position of each pair that turns, at most `dim / 2` values. Numbers behind these pairs stay as they
    /// are.
    pub inv_freq: Vec<f64>,
    /// Factor on cosine and sine (YaRN and LongRoPE; 1 elsewhere).
    pub magnitude: f32,
    /// Which two numbers form a pair.
    pub pairing: Pairing,
}

impl Rotary {
    /// `inv_freq[i] = base^(-2 i / dim)`, the plain form.
    pub fn plain(base: f64, dim: usize, pairing: Pairing) -> Self {
        let inv_freq = (0..dim / 2).map(|i| base.powf(-2.0 * i as f64 / dim as f64)).collect();
        Self { inv_freq, magnitude: 1.0, pairing }
    }

    /// Cosines and sines of the given positions on a device.
    pub fn angles(&self, positions: &[u32], device: &Device) -> Result<Angles> {
        self.table(positions.iter().map(|&p| f64::from(p)), self.magnitude, device)
    }

    /// Cosines and sines that move rotated rows by so many positions. Rotations add up and the
    /// magnitude is in the rows already.
    pub fn turns(&self, by: &[i64], device: &Device) -> Result<Angles> {
        self.table(by.iter().map(|&by| by as f64), 1.0, device)
    }

    fn table(&self, positions: impl ExactSizeIterator<Item = f64>, magnitude: f32, device: &Device) -> Result<Angles> {
        let (half, positions) = (self.inv_freq.len(), positions.collect::<Vec<_>>());
        let shape = (positions.len(), half);
        let mut turns = vec![(0f32, 0f32); positions.len() * half];
        crate::rows::each(&mut turns, half, |first, turns| {
            for (&position, turns) in positions[first..].iter().zip(turns.chunks_exact_mut(half)) {
                for (turn, &freq) in turns.iter_mut().zip(&self.inv_freq) {
                    let (sin, cos) = (position * freq).sin_cos();
                    *turn = (cos as f32 * magnitude, sin as f32 * magnitude);
                }
            }
        });
        let (cos, sin): (Vec<f32>, Vec<f32>) = turns.into_iter().unzip();
        Ok(Angles {
            cos: Tensor::from_vec(cos, shape, device)?,
            sin: Tensor::from_vec(sin, shape, device)?,
            pairing: self.pairing,
        })
    }
}

/// Cosines and sines of some rows, each `[rows, pairs that turn]` f32.
#[derive(Debug, Clone)]
pub struct Angles {
    pub(crate) cos: Tensor,
    pub(crate) sin: Tensor,
    pub(crate) pairing: Pairing,
}

impl Angles {
    /// Rows.
    pub fn len(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of a head that turn.
    pub fn width(&self) -> usize {
        self.cos.dims()[1] * 2
    }

    /// The angles of `len` rows from `start` on, without a copy.
    pub fn rows(&self, start: usize, len: usize) -> Result<Self> {
        Ok(Self { cos: self.cos.narrow(0, start, len)?, sin: self.sin.narrow(0, start, len)?, pairing: self.pairing })
    }
}

/// Rotates every head of every row **in place**.
///
/// Shapes: `x` `[rows, heads, dim]` f32, contiguous; `angles` `[rows, <= dim / 2]`. With fewer
/// pairs than `dim / 2` (partial rotary) the numbers behind the rotated ones stay as they are.
/// The caller must own `x`: every tensor that shares its storage changes with it.
pub fn rotate(x: &Tensor, angles: &Angles) -> Result<()> {
    let (rows, _, dim) = x.dims3()?;
    let (have, half) = angles.cos.dims2()?;
    if rows != have || half * 2 > dim {
        return invalid("rope", format!("x is {:?}, angles are [{have}, {half}]", x.dims()));
    }
    if x.elem_count() == 0 {
        return Ok(());
    }
    on_gpu!(x, |gpu| cuda::rotate(gpu, x, angles, None));
    Ok(x.inplace_op1(&Rotate(angles))?)
}

/// [`rotate`] of the one row of a step, by its row of the angles of all steps.
pub fn rotate_ahead(x: &Tensor, angles: &Angles, steps: &Steps) -> Result<()> {
    let (rows, _, dim) = x.dims3()?;
    if rows != 1 || angles.width() > dim || angles.len() < steps.most() {
        let (len, width) = (angles.len(), angles.width());
        return invalid(
            "rope",
            format!("x is {:?}, angles are [{len}, {width} / 2] for {} steps", x.dims(), steps.most()),
        );
    }
    on_gpu!(x, |gpu| cuda::rotate(gpu, x, angles, Some(&steps.at)));
    rotate(x, &angles.rows(steps.done()?, 1)?)
}

/// A copy of cached keys that have moved: turned in f32 and rounded once.
///
/// Shapes: `keys` `[heads, entries, width]` of a type of [`crate::cached`]; `angles` one row an entry; the result is shaped and typed
/// as `keys`.
pub fn turned(keys: &Tensor, angles: &Angles) -> Result<Tensor> {
    // A copy even where the layout needs none, as with one head: what is turned below must be ours.
    let rows = cached::read(keys)?.transpose(0, 1)?.force_contiguous()?;
    rotate(&rows, angles)?;
    let turned = keys.zeros_like()?;
    cached::write(&turned, 0, &rows, 0..keys.dims()[0])?;
    Ok(turned)
}

struct Rotate<'a>(&'a Angles);

impl InplaceOp1 for Rotate<'_> {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("rope: a contiguous tensor is required");
        };
        let CpuStorage::F32(all) = storage else {
            candle_core::bail!("rope: activations must be f32");
        };
        let (_, heads, dim) = layout.shape().dims3()?;
        let cos = values::<f32>("rope", &self.0.cos).map_err(candle_core::Error::wrap)?;
        let sin = values::<f32>("rope", &self.0.sin).map_err(candle_core::Error::wrap)?;
        if crate::reference_forced() {
            reference::rotate(&mut all[start..end], heads, dim, &cos, &sin, self.0.pairing);
        } else {
            cpu::rotate(&mut all[start..end], heads, dim, &cos, &sin, self.0.pairing);
        }
        Ok(())
    }
}
