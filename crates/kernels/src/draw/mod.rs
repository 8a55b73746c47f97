//! Drawing a token from logits.
//!
//! The weight of a token is an integer, the most likely one's 2^40. Sums of integers do not depend on their order, so
//! the same random number draws the same token everywhere, up to the last bit of an exponential.

mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use crate::error::{Result, invalid};
use crate::logits::{Pick, likeliest, top};

/// How a token is drawn, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawing {
    /// Divides the logits of recent tokens, or multiplies those that are negative (Keskar et al., 2019). 1: off.
    pub penalty: f64,
    /// Divides all logits; 0: the most likely token is drawn, whatever the random number.
    pub temperature: f64,
    /// Only so many of the most likely tokens, at least one.
    pub top_k: usize,
    /// Only the fewest of the most likely of these whose weights are together this share of theirs, in (0, 1].
    pub top_p: f64,
    /// Only tokens whose weight is at least this share of the most likely one's, in [0, 1].
    pub min_p: f64,
}

/// Tokens of a vocabulary that is drawn from: their weights add up in 64 bits.
const MOST: usize = 1 << 23;

/// Recent tokens that steps look back on at most: a block of a GPU has as many threads.
pub(crate) const WINDOW: usize = 1024;

/// Draws one of `logits` `[vocab]`: of the tokens that are left, ordered by id, the first whose weight, with those
/// before it, is above `random / 2^64` of all. Of equal weights the lower id counts as more likely.
///
/// `recent` are the tokens the penalty applies to, each once however often it is named; those outside the vocabulary
/// are passed over. What the penalty changes is changed in `logits`; the answer tells the drawn logit as it was before,
/// so its log probability is the model's own. Implementations agree on the token unless an exponential differs in its
/// last bit. An error for a NaN or an infinity, which it names, and where there are no logits or more than 2^23.
pub fn draw(logits: &mut [f32], recent: &[u32], how: &Drawing, random: u64) -> Result<Pick> {
    if logits.len() > MOST {
        return invalid("draw", format!("{} tokens, weights of at most {MOST} are added up", logits.len()));
    }
    let top = top(logits)?;
    let before = penalize(logits, recent, how.penalty);
    let index = match how.temperature {
        0.0 if before.is_empty() => top.index,
        0.0 => likeliest(logits),
        _ if crate::reference_forced() => reference::draw(logits, how, random),
        _ => cpu::draw(logits, how, random),
    };
    let value = before.iter().find(|(id, _)| *id == index).map_or(logits[index], |(_, value)| *value);
    Ok(Pick { index, value, ..top })
}

/// Applies the penalty and gives what the logits were that it applied to.
fn penalize(logits: &mut [f32], recent: &[u32], penalty: f64) -> Vec<(usize, f32)> {
    if penalty == 1.0 {
        return Vec::new();
    }
    let mut ids: Vec<usize> = recent.iter().map(|&id| id as usize).filter(|&id| id < logits.len()).collect();
    ids.sort_unstable();
    ids.dedup();
    let change = |id: usize| {
        let before = logits[id];
        let after = if before > 0.0 { f64::from(before) / penalty } else { f64::from(before) * penalty };
        logits[id] = after.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
        (id, before)
    };
    ids.into_iter().map(change).collect()
}

/// The weight of the most likely token.
const ONE: f64 = (1u64 << 40) as f64;

/// The weight of a token whose logit is this far, in temperatures, from the largest.
fn weight(distance: f64) -> u64 {
    (distance.exp() * ONE + 0.5) as u64
}

impl Drawing {
    /// How far a logit is from the largest, in temperatures.
    fn distance(&self, logit: f32, top: f32) -> f64 {
        (f64::from(logit) - f64::from(top)) / self.temperature
    }

    /// What the weights of the likeliest must reach together, of all that `top_k` leaves.
    fn wanted(&self, total: u64) -> u64 {
        // Beyond 2^53 the product would fall short of all.
        if self.top_p >= 1.0 {
            return total;
        }
        ((self.top_p * total as f64).ceil() as u64).clamp(1, total)
    }

    /// The least weight that is left.
    fn least(&self) -> u64 {
        (self.min_p * ONE).ceil() as u64
    }
}

/// A number below `total`, evenly by a random one of 64 bits.
fn below(total: u64, random: u64) -> u64 {
    ((u128::from(random) * u128::from(total)) >> 64) as u64
}
