//! Where weights come from. A source states a [`Config`] and hands out the parts of the model.

pub mod gguf;
pub mod quantized;
pub mod random;
pub mod rounded;
pub mod safetensors;

pub(crate) mod scan;

mod map;
mod part;

pub use part::{LayerPart, Part};

use skimlm_core::Result;
use skimlm_kernels::linear::Weight;

use crate::config::Config;

/// A source of weights.
///
/// A part has the shape that [`Part::shape`] derives from the config; a source that holds it in
/// another shape, or not at all, answers `ERR_MODEL_CORRUPT`, and one in a format without a kernel `ERR_MODEL_UNSUPPORTED`.
pub trait Weights {
    /// What the weights belong to; it has passed [`Config::check`].
    fn config(&self) -> &Config;

    /// A matrix `[out, in]` in the source's own number format, shared and not copied where possible.
    fn matrix(&self, part: Part) -> Result<Weight>;

    /// A norm's or a bias's values.
    fn vector(&self, part: Part) -> Result<Vec<f32>>;

    /// The part has been read and copied: its memory may be given back. Default: nothing is.
    fn release(&self, part: Part) {
        let _ = part;
    }
}
