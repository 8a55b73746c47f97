//! Decoding steps that need nothing of the host.
//!
//! What changes from step to step is two numbers on the device, a counter and a token; everything else follows from
//! the counter by tables of the coming steps (angles, what a row sees) or by adding it (where an entry goes). So the
//! work of a step is the same every time: a GPU records it once and replays it ([`record`]), and the host reads tokens
//! when it likes.
//!
//! Operations that count so end in `_ahead` and take [`Steps`]: [`crate::linear::embed_ahead`],
//! [`crate::rope::rotate_ahead`], [`crate::cached::write_ahead`], [`crate::attention::attention_ahead`]. Each does for
//! one row what its namesake does with the numbers of the step.

#[cfg(any(feature = "cuda", test))]
mod cuda;
#[cfg(test)]
mod gpus;
mod replay;
#[cfg(test)]
mod tests;

pub use replay::{Replay, record};

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use crate::error::{Result, invalid};
use crate::host::values;
use crate::logits::{Top, WORDS, told, top_of, words};

/// The steps of one stretch of decoding: how many are done, the token that the next one reads, and what they told.
#[derive(Debug)]
pub struct Steps {
    pub(crate) at: Tensor,    // (1)
    pub(crate) token: Tensor, // (1)
    told: Tensor,             // (most, WORDS)
    most: usize,
}

impl Steps {
    /// No step done; the first one reads `token`. There is room for `most`.
    pub fn new(token: u32, most: usize, device: &Device) -> Result<Self> {
        if most == 0 || u32::try_from(most).is_err() {
            return invalid("steps", format!("room for {most} steps"));
        }
        Ok(Self {
            at: Tensor::new(&[0u32], device)?,
            token: Tensor::new(&[token], device)?,
            told: Tensor::zeros((most, WORDS), DType::U32, device)?,
            most,
        })
    }

    /// Ends a step: the most likely of its logits (f32, contiguous) is noted and is what the next one reads. Behind the
    /// last step there is nothing to do. Logits that are not finite are told by [`Steps::read`].
    pub fn turn(&self, logits: &Tensor) -> Result<()> {
        on_gpu!(logits, |gpu| cuda::turn(gpu, self, logits));
        let at = self.done()?;
        if at < self.most {
            let top = words(top_of(logits))?;
            self.told.slice_set(&Tensor::new(&[top], logits.device())?, 0, at)?;
            self.token.slice_set(&Tensor::new(&top[..1], logits.device())?, 0, 0)?;
            self.at.slice_set(&Tensor::new(&[at as u32 + 1], logits.device())?, 0, 0)?;
        }
        Ok(())
    }

    /// What steps that are done told, in order: as [`top_of`] of their logits. Waits for the device.
    pub fn read(&self, steps: Range<usize>) -> Result<Vec<Result<Top>>> {
        let rows = self.told.narrow(0, steps.start, steps.len())?.to_vec2::<u32>()?;
        Ok(rows.iter().map(|row| told(row)).collect())
    }

    /// The token that the next step reads. Waits for the device.
    pub fn token(&self) -> Result<u32> {
        Ok(self.token.to_vec1::<u32>()?.first().copied().unwrap_or(0))
    }

    /// Steps there is room for.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The counter, where the host may look.
    pub(crate) fn done(&self) -> Result<usize> {
        Ok(values::<u32>("steps", &self.at)?.first().map_or(0, |&at| at as usize))
    }
}
