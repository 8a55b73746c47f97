//! Models: weights, and the one decoder that runs them.
//!
//! [`open`] turns a file into a [`Decoder`], which the rest of skimlm sees as
//! [`skimlm_core::Model`] only. The way there: a [`weights::Weights`] source (a GGUF file, or the
//! hash-made [`weights::random`] model) states a family-neutral [`Config`] and hands out its
//! [`weights::Part`]s; a [`families::Family`] translates the metadata and names of one architecture.
//! No other crate knows a weight format.

pub mod families;
pub mod rope;
pub mod weights;

mod config;
mod decoder;
mod fail;
mod info;
mod locate;
mod open;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use decoder::Decoder;
pub use info::{ModelInfo, TensorTypeInfo, inspect};
pub use locate::locate;
pub use open::{OpenOptions, Opened, Progress, open, open_with};
