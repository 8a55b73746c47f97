//! The most likely of some logits, and what makes probabilities of them.

mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use crate::error::{Error, Result, invalid};
use crate::host::values;

/// What one pass over the logits tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Top {
    /// The first of the largest logits.
    pub index: usize,
    /// Its value.
    pub value: f32,
    /// The logarithm of the sum of all exponentials: a logit minus this is its log probability.
    pub log_sum: f64,
}

/// The most likely logit and the logarithm of the sum of all exponentials.
///
/// Implementations agree on the index, and on the sum within 1e-6. A NaN or an infinity is an error
/// that names it, and so is an empty slice.
pub fn top(logits: &[f32]) -> Result<Top> {
    if logits.is_empty() {
        return invalid("logits", "there are none".into());
    }
    if let Some(index) = crate::simd::not_finite(logits) {
        return Err(Error::NonFinite { op: "logits", index, value: logits[index] });
    }
    Ok(if crate::reference_forced() { reference::top(logits) } else { cpu::top(crate::level::current(), logits) })
}

/// [`top`] of a tensor of any shape, f32 and contiguous. Nothing but the answer leaves a GPU.
pub fn top_of(logits: &Tensor) -> Result<Top> {
    if logits.elem_count() == 0 {
        return invalid("logits", "there are none".into());
    }
    on_gpu!(logits, |gpu| told(&cuda::top(gpu, logits)?.to_vec1::<u32>()?));
    top(&values::<f32>("logits", logits)?)
}

/// Words of an answer on a device: `logits.cu` says what they are.
pub(crate) const WORDS: usize = 6;

/// An answer as words. Its sum may be off by what two floats round away.
pub(crate) fn words(top: Result<Top>) -> Result<[u32; WORDS]> {
    match top {
        Ok(Top { index, value, log_sum }) => {
            let sum = (log_sum - f64::from(value)).exp();
            let high = sum as f32;
            let low = (sum - f64::from(high)) as f32;
            Ok([index as u32, value.to_bits(), high.to_bits(), low.to_bits(), u32::MAX, 0])
        }
        Err(Error::NonFinite { index, value, .. }) => Ok([0, 0, 0, 0, index as u32, value.to_bits()]),
        Err(other) => Err(other),
    }
}

/// Words as an answer.
pub(crate) fn told(words: &[u32]) -> Result<Top> {
    let &[index, value, high, low, bad, bad_value] = words else {
        return invalid("logits", format!("an answer of {} words", words.len()));
    };
    if bad != u32::MAX {
        return Err(Error::NonFinite { op: "logits", index: bad as usize, value: f32::from_bits(bad_value) });
    }
    let number = |bits| f64::from(f32::from_bits(bits));
    let log_sum = number(value) + (number(high) + number(low)).ln();
    Ok(Top { index: index as usize, value: f32::from_bits(value), log_sum })
}
