//! From a model's RoPE settings to its [`Rotary`].

mod yarn;

#[cfg(test)]
mod tests;

use std::f64::consts::TAU;

use skimlm_core::{Result, Rotary};
pub use skimlm_kernels::rope::Pairing;

use crate::fail::corrupt;
pub use yarn::Yarn;

/// One kind of rotation, as the files state it.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryConfig {
    /// Base of the frequencies ("theta").
    pub base: f64,
    /// Numbers of a head that are rotated; even, at most the head size.
    pub dims: usize,
    /// Which two numbers form a pair.
    pub pairing: Pairing,
    /// How a longer context was trained in.
    pub scaling: Scaling,
}

/// How the plain frequencies are changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// They are not.
    None,
    /// All divided by one factor (position interpolation, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// "Dynamic NTK": the base grows with the length of the pass once it exceeds the original context.
    Dynamic {
        /// How much the base grows with the length.
        factor: f64,
        /// Positions of the original context.
        original: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a linear blend between.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// A frequency is low if it turns fewer times than this in the original context.
        low: f64,
        /// A frequency is high if it turns more often than this in the original context.
        high: f64,
        /// Positions of the original context.
        original: f64,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn(Yarn),
    /// LongRoPE (arXiv 2402.13753): each frequency divided by its own factor, from one table for passes
    /// within the original context and from another for longer ones.
    LongRope {
        /// Divisors within the original context, `dims / 2` of them.
        short: Vec<f64>,
        /// Divisors beyond it.
        long: Vec<f64>,
        /// Positions of the original context.
        original: f64,
        /// Factor on cosine and sine, with either table.
        magnitude: f64,
    },
    /// Each frequency divided by its own factor, `dims / 2` of them, stored beside the weights.
    Stored {
        /// The divisors.
        by: Vec<f64>,
    },
}

impl Scaling {
    /// LongRoPE's factor on cosine and sine for a context stretched `factor` times.
    pub fn long_rope_magnitude(factor: f64, original: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() }
    }

    /// Positions that a model of `claimed` positions can be used with: some files state the original
    /// context, and the factor beside it.
    pub(crate) fn reach(&self, claimed: usize) -> usize {
        let stretched = match self {
            Self::Dynamic { factor, original } => factor * original,
            Self::Yarn(yarn) => yarn.factor * yarn.original,
            _ => 0.0,
        };
        claimed.max(stretched.min(f64::from(u32::MAX)) as usize)
    }
}

impl RotaryConfig {
    /// The frequencies of this base, unchanged.
    pub fn plain(base: f64, dims: usize, pairing: Pairing) -> Self {
        Self { base, dims, pairing, scaling: Scaling::None }
    }

    pub(crate) fn check(&self, head_dim: usize) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let table = |by: &[f64]| by.len() == self.dims / 2 && by.iter().all(|&by| positive(by));
        let sound = match &self.scaling {
            Scaling::None => true,
            Scaling::Linear { factor } => positive(*factor),
            // The exponent of the growing base is `dims / (dims - 2)`.
            Scaling::Dynamic { factor, original } => *factor >= 1.0 && positive(*factor * original) && self.dims > 2,
            Scaling::Llama3 { factor, low, high, original } => {
                positive(*factor) && positive(*low) && positive(*original) && high.is_finite() && high > low
            }
            Scaling::Yarn(yarn) => yarn.is_sound() && self.base > 1.0,
            Scaling::LongRope { short, long, original, magnitude } => {
                table(short) && table(long) && positive(*original) && positive(*magnitude)
            }
            Scaling::Stored { by } => table(by),
        };
        if !sound || !positive(self.base) || self.dims > head_dim || !self.dims.is_multiple_of(2) {
            return Err(corrupt(format!("the RoPE settings fit no head of {head_dim} numbers: {self:?}.")));
        }
        Ok(())
    }

    /// The rotation of a pass whose positions stay below `length`. The settings have been checked.
    pub fn rotary(&self, length: usize) -> Rotary {
        let base = match self.scaling {
            Scaling::Dynamic { factor, original } => {
                let stretch = factor * (length as f64).max(original) / original - (factor - 1.0);
                self.base * stretch.powf(self.dims as f64 / (self.dims as f64 - 2.0))
            }
            _ => self.base,
        };
        let mut rotary = Rotary::plain(base, self.dims, self.pairing);
        let divide = |rotary: &mut Rotary, by: &[f64]| rotary.inv_freq.iter_mut().zip(by).for_each(|(f, by)| *f /= by);
        match &self.scaling {
            Scaling::None | Scaling::Dynamic { .. } => {}
            Scaling::Linear { factor } => rotary.inv_freq.iter_mut().for_each(|f| *f /= factor),
            Scaling::Llama3 { factor, low, high, original } => {
                for freq in &mut rotary.inv_freq {
                    let turns = original * *freq / TAU;
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    *freq *= keep + (1.0 - keep) / factor;
                }
            }
            Scaling::Yarn(yarn) => {
                yarn.scale(self.base, &mut rotary.inv_freq);
                rotary.magnitude = yarn.magnitude as f32;
            }
            Scaling::LongRope { short, long, original, magnitude } => {
                divide(&mut rotary, if length as f64 > *original { long } else { short });
                rotary.magnitude = *magnitude as f32;
            }
            Scaling::Stored { by } => divide(&mut rotary, by),
        }
        rotary
    }
}
