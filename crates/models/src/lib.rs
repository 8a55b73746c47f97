//! Models: weights, and the one decoder that runs them.
//!
//! [`open_source`] turns a file or a folder into a [`Decoder`], which the rest of skimlm sees as
//! [`skimlm_core::Model`] only. The way there: a [`weights::Weights`] source (a GGUF file, a
//! safetensors folder, or the hash-made [`weights::random`] model) states a family-neutral [`Config`]
//! and hands out its [`weights::Part`]s; a family is what the models of one architecture
//! have in common. No other crate decodes a weight.

pub mod rope;
pub mod weights;

mod config;
mod decoder;
mod fail;
mod families;
mod fingerprint;
mod footprint;
mod info;
mod locate;
mod open;
mod source;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;

#[cfg(test)]
mod tests;

pub use config::{Activation, Config};
pub use decoder::Decoder;
pub use footprint::Footprint;
pub use info::{ModelInfo, RopeInfo, TensorTypeInfo, inspect_source};
pub use open::{OpenOptions, Opened, Progress, open_source};
pub use source::Source;
pub use weights::quantized::Quantization;
