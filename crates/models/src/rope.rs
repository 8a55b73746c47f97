//! From a model's RoPE settings to its [`Rotary`].

use std::f64::consts::TAU;

use skimlm_core::{Result, Rotary};
pub use skimlm_kernels::rope::Pairing;

use crate::fail::corrupt;

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
    /// Each frequency divided by its own factor, stored beside the weights.
    Stored,
}

impl RotaryConfig {
    pub(crate) fn check(&self, head_dim: usize) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let sound = match self.scaling {
            Scaling::None | Scaling::Stored => true,
            Scaling::Linear { factor } => positive(factor),
            Scaling::Llama3 { factor, low, high, original } => {
                positive(factor) && positive(low) && positive(original) && high.is_finite() && high > low
            }
        };
        if !sound || !positive(self.base) || self.dims > head_dim || !self.dims.is_multiple_of(2) {
            return Err(corrupt(format!("the RoPE settings fit no head of {head_dim} numbers: {self:?}.")));
        }
        Ok(())
    }

    /// The rotation itself. `stored` holds the divisors of [`Scaling::Stored`], `dims / 2` of them.
    pub fn rotary(&self, stored: Option<&[f32]>) -> Result<Rotary> {
        let mut rotary = Rotary::plain(self.base, self.dims, self.pairing);
        match self.scaling {
            Scaling::None => {}
            Scaling::Linear { factor } => rotary.inv_freq.iter_mut().for_each(|f| *f /= factor),
            Scaling::Llama3 { factor, low, high, original } => {
                for freq in &mut rotary.inv_freq {
                    let turns = original * *freq / TAU;
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    *freq *= keep + (1.0 - keep) / factor;
                }
            }
            Scaling::Stored => {
                let factors = stored.unwrap_or_default();
                let sound = factors.iter().all(|f| f.is_finite() && *f > 0.0);
                if factors.len() != rotary.inv_freq.len() || !sound {
                    return Err(corrupt(format!(
                        "{} RoPE factors, some perhaps not positive, for {} frequencies.",
                        factors.len(),
                        rotary.inv_freq.len()
                    )));
                }
                rotary.inv_freq.iter_mut().zip(factors).for_each(|(f, &by)| *f /= f64::from(by));
            }
        }
        Ok(rotary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(scaling: Scaling) -> RotaryConfig {
        RotaryConfig { base: 500_000.0, dims: 128, pairing: Pairing::Half, scaling }
    }

    /// The published rule, written with wavelengths and three branches.
    fn llama3(freq: f64) -> f64 {
        let (factor, low, high, original) = (8.0, 1.0, 4.0, 8192.0);
        let wavelength = TAU / freq;
        if wavelength < original / high {
            freq
        } else if wavelength > original / low {
            freq / factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            (1.0 - smooth) * freq / factor + smooth * freq
        }
    }

    #[test]
    fn llama3_keeps_high_and_divides_low_frequencies() {
        let plain = config(Scaling::None).rotary(None).unwrap();
        let scaled =
            config(Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 }).rotary(None).unwrap();
        for (&freq, &got) in plain.inv_freq.iter().zip(&scaled.inv_freq) {
            assert!((got / llama3(freq) - 1.0).abs() < 1e-12, "{freq}: {got}");
        }
        assert_eq!(scaled.inv_freq[0], plain.inv_freq[0]);
        assert_eq!(scaled.inv_freq[63], plain.inv_freq[63] / 8.0);
    }

    #[test]
    fn linear_and_stored_factors_divide() {
        let plain = config(Scaling::None).rotary(None).unwrap();
        let linear = config(Scaling::Linear { factor: 4.0 }).rotary(None).unwrap();
        let stored = config(Scaling::Stored).rotary(Some(&[4.0; 64])).unwrap();
        assert_eq!(linear, stored);
        assert!(plain.inv_freq.iter().zip(&linear.inv_freq).all(|(p, l)| *l == p / 4.0));
    }

    #[test]
    fn refuses_what_cannot_be_meant() {
        for bad in [&[1.0; 63][..], &[0.0; 64][..], &[f32::NAN; 64][..]] {
            assert!(config(Scaling::Stored).rotary(Some(bad)).is_err());
        }
        assert!(config(Scaling::Stored).rotary(None).is_err());
        assert!(config(Scaling::None).check(64).is_err());
        assert!(config(Scaling::Linear { factor: 0.0 }).check(128).is_err());
        assert!(RotaryConfig { base: f64::NAN, ..config(Scaling::None) }.check(128).is_err());
        assert!(RotaryConfig { dims: 5, ..config(Scaling::None) }.check(128).is_err());
        assert!(config(Scaling::None).check(128).is_ok());
    }
}
