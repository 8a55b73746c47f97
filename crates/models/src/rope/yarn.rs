use std::f64::consts::TAU;

/// Frequencies that turn often are kept, slow ones divided, those between blended pair by pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// The divisor of slow frequencies.
    pub factor: f64,
    /// Positions of the original context.
    pub original: f64,
    /// A pair that turns more often than this in the original context is kept.
    pub fast: f64,
    /// A pair that turns fewer times than this is divided.
    pub slow: f64,
    /// Whether the borders between them fall on whole pairs.
    pub truncate: bool,
    /// Factor on cosine and sine.
    pub magnitude: f64,
}

impl Yarn {
    /// The paper's own settings for a factor.
    pub fn new(factor: f64, original: f64) -> Self {
        Self { factor, original, fast: 32.0, slow: 1.0, truncate: true, magnitude: Self::magnitude(factor, 1.0) }
    }

    /// The paper's temperature: `0.1 * by * ln(factor) + 1`.
    pub fn magnitude(factor: f64, by: f64) -> f64 {
        if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 }
    }

    pub(super) fn is_sound(&self) -> bool {
        let Self { factor, original, fast, slow, magnitude, .. } = *self;
        [factor, original, fast, slow, magnitude].iter().all(|x| x.is_finite() && *x > 0.0) && fast >= slow
    }

    pub(super) fn scale(&self, base: f64, frequencies: &mut [f64]) {
        let dims = frequencies.len() as f64 * 2.0;
        // The pair that turns so often in the original context.
        let pair = |turns: f64| dims * (self.original / (turns * TAU)).ln() / (2.0 * base.ln());
        let (mut low, mut high) = (pair(self.fast), pair(self.slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dims - 1.0));
        if low == high {
            high += 0.001;
        }
        for (i, freq) in frequencies.iter_mut().enumerate() {
            let slow = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            *freq *= 1.0 - slow + slow / self.factor;
        }
    }
}
