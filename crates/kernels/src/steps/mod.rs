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

use crate::draw::{Drawing, WINDOW, draw};
use crate::error::{Result, invalid};
use crate::host::values;
use crate::logits::{Pick, WORDS, told, top_of, words};

/// The steps of one stretch of decoding: how many are done, the token that the next one reads, and what they told.
#[derive(Debug)]
pub struct Steps {
    pub(crate) at: Tensor,    // (1)
    pub(crate) token: Tensor, // (1)
    told: Tensor,             // (most, WORDS)
    most: usize,
    drawn: Option<Drawn>,
}

/// What tokens are drawn by, where the most likely one is not taken.
#[derive(Debug)]
struct Drawn {
    how: Drawing,
    recent: Tensor,  // (window); each step's token takes the place of the oldest
    randoms: Tensor, // (most, 2): of 64 bits, the lower half first
}

impl Steps {
    /// No step done; the first one reads `token`, and every step's token is the most likely one. There is room for
    /// `most`.
    pub fn new(token: u32, most: usize, device: &Device) -> Result<Self> {
        if most == 0 || u32::try_from(most).is_err() {
            return invalid("steps", format!("room for {most} steps"));
        }
        Ok(Self {
            at: Tensor::new(&[0u32], device)?,
            token: Tensor::new(&[token], device)?,
            told: Tensor::zeros((most, WORDS), DType::U32, device)?,
            most,
            drawn: None,
        })
    }

    /// Steps whose tokens are drawn, each with the next of `randoms`: there is room for as many. `recent` are the last
    /// tokens at first, the one that the first step reads among them, at most `window`, which is 1024 at most.
    pub fn drawing(how: Drawing, recent: &[u32], window: usize, randoms: &[u64], device: &Device) -> Result<Self> {
        let Some(&token) = recent.last().filter(|_| recent.len() <= window && window <= WINDOW) else {
            let what = format!("{} recent tokens in a window of {window}, of at most {WINDOW}", recent.len());
            return invalid("steps", what);
        };
        // No vocabulary has this token.
        let mut padded = vec![u32::MAX; window - recent.len()];
        padded.extend(recent);
        let halves: Vec<u32> = randoms.iter().flat_map(|random| [*random as u32, (random >> 32) as u32]).collect();
        let steps = Self::new(token, randoms.len(), device)?;
        let randoms = Tensor::from_vec(halves, (randoms.len(), 2), device)?;
        Ok(Self { drawn: Some(Drawn { how, recent: Tensor::new(padded, device)?, randoms }), ..steps })
    }

    /// Ends a step: a token is chosen from its logits (f32, contiguous; they may be overwritten), noted, and is what the
    /// next one reads. Behind the last step there is nothing to do. Logits that are not finite are told by
    /// [`Steps::read`].
    pub fn turn(&self, logits: &Tensor) -> Result<()> {
        on_gpu!(logits, |gpu| cuda::turn(gpu, self, logits));
        let at = self.done()?;
        if at < self.most {
            let device = logits.device();
            let words = words(self.pick(logits, at))?;
            let token = Tensor::new(&words[..1], device)?;
            self.told.slice_set(&Tensor::new(&[words], device)?, 0, at)?;
            self.token.slice_set(&token, 0, 0)?;
            if let Some(Drawn { recent, .. }) = &self.drawn {
                recent.slice_set(&token, 0, at % recent.elem_count())?;
            }
            self.at.slice_set(&Tensor::new(&[at as u32 + 1], device)?, 0, 0)?;
        }
        Ok(())
    }

    fn pick(&self, logits: &Tensor, at: usize) -> Result<Pick> {
        let Some(Drawn { how, recent, randoms }) = &self.drawn else { return top_of(logits) };
        let (recent, random) = (values::<u32>("steps", recent)?, randoms.get(at)?.to_vec1::<u32>()?);
        let random = random.iter().rev().fold(0, |number, half| number << 32 | u64::from(*half));
        draw(&mut logits.flatten_all()?.to_vec1()?, &recent, how, random)
    }

    /// What steps that are done told, in order: as [`top_of`] of their logits, or [`draw`]. Waits for the
    /// device.
    pub fn read(&self, steps: Range<usize>) -> Result<Vec<Result<Pick>>> {
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
