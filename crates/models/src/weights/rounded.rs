//! Weights that let activations be rounded.

use skimlm_core::Result;
use skimlm_kernels::linear::{Activations, Weight};

use super::{Part, Weights};
use crate::config::Config;

/// Another source's weights, whose layers may round activations so.
pub struct Rounded<'a> {
    /// The source.
    pub inner: &'a dyn Weights,
    /// How finely.
    pub activations: Activations,
}

impl Weights for Rounded<'_> {
    fn config(&self) -> &Config {
        self.inner.config()
    }

    fn matrix(&self, part: Part) -> Result<Weight> {
        Ok(self.inner.matrix(part)?.with_activations(self.activations))
    }

    fn vector(&self, part: Part) -> Result<Vec<f32>> {
        self.inner.vector(part)
    }

    fn release(&self, part: Part) {
        self.inner.release(part);
    }
}
