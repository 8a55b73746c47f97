//! The most likely of some logits, and what makes probabilities of them.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result, invalid};

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
