//! The most likely of some logits, and what makes probabilities of them.

mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use reference::likeliest;

use candle_core::Tensor;

use crate::error::{Error, Result, finite, invalid};
use crate::host::values;

/// A logit among others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// Which one.
    pub index: usize,
    /// Its value.
    pub value: f32,
    /// The logarithm of the sum of all exponentials.
    pub log_sum: f64,
}

impl Pick {
    /// The natural logarithm of its probability.
    pub fn log_probability(&self) -> f32 {
        (f64::from(self.value) - self.log_sum) as f32
    }
}

/// The first of the largest logits.
///
/// Implementations agree on the index, and on the sum within 1e-6. A NaN or an infinity is an error
/// that names it, and so is an empty slice.
pub fn top(logits: &[f32]) -> Result<Pick> {
    if logits.is_empty() {
        return invalid("logits", "there are none".into());
    }
    finite("logits", logits)?;
    Ok(if crate::reference_forced() { reference::top(logits) } else { cpu::top(crate::level::current(), logits) })
}

/// [`top`] of a tensor of any shape, f32 and contiguous. Nothing but the answer leaves a GPU.
pub fn top_of(logits: &Tensor) -> Result<Pick> {
    if logits.elem_count() == 0 {
        return invalid("logits", "there are none".into());
    }
    on_gpu!(logits, |gpu| told(&cuda::top(gpu, logits)?.to_vec1::<u32>()?));
    top(&values::<f32>("logits", logits)?)
}

/// Words of a pick on a device: `pick.cuh` says what they are.
pub(crate) const WORDS: usize = 6;

/// A pick, or which logit was no number, as words.
pub(crate) fn words(pick: Result<Pick>) -> Result<[u32; WORDS]> {
    match pick {
        Ok(Pick { index, value, log_sum }) => {
            let sum = log_sum.to_bits();
            Ok([index as u32, value.to_bits(), sum as u32, (sum >> 32) as u32, u32::MAX, 0])
        }
        Err(Error::NonFinite { index, value, .. }) => Ok([0, 0, 0, 0, index as u32, value.to_bits()]),
        Err(other) => Err(other),
    }
}

/// Words as a pick.
pub(crate) fn told(words: &[u32]) -> Result<Pick> {
    let &[index, value, low, high, bad, bad_value] = words else {
        return invalid("logits", format!("a pick of {} words", words.len()));
    };
    if bad != u32::MAX {
        return Err(Error::NonFinite { op: "logits", index: bad as usize, value: f32::from_bits(bad_value) });
    }
    let log_sum = f64::from_bits(u64::from(high) << 32 | u64::from(low));
    Ok(Pick { index: index as usize, value: f32::from_bits(value), log_sum })
}
