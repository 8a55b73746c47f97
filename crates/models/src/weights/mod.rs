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

use std::collections::HashMap;

use skimlm_core::Result;
use skimlm_kernels::linear::Weight;

use crate::config::Config;
use crate::fail::corrupt;

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

/// Where each name stands; `ERR_MODEL_CORRUPT` with `{ tensor }` if one stands there twice.
pub(crate) fn index<'a>(names: impl Iterator<Item = &'a str>) -> Result<HashMap<String, usize>> {
    let mut index = HashMap::new();
    for (i, name) in names.enumerate() {
        if index.insert(name.to_owned(), i).is_some() {
            let what = format!("two tensors are called `{name}`. Remove files of other models, or download it again.");
            return Err(corrupt(what).with("tensor", name));
        }
    }
    Ok(index)
}

/// A part's weight; `ERR_MODEL_CORRUPT` with `{ tensor }` unless it has the shape that `settings` ask for.
pub(crate) fn shaped(weight: Weight, tensor: &str, part: Part, config: &Config, settings: &str) -> Result<Weight> {
    let (is, wanted) = ([weight.rows(), weight.cols()], <[usize; 2]>::from(part.shape(config)));
    if is == wanted {
        return Ok(weight);
    }
    let what = format!("tensor `{tensor}` is {is:?}; {settings} asks for {wanted:?}.");
    Err(corrupt(what).with("tensor", tensor))
}
