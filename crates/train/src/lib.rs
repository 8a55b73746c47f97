//! Training: a small model that shows what anchors can carry, and continued training of real models
//! with the anchor mask (AnLLM, Pang et al., arXiv 2402.07616).
//!
//! The decoder is [`skimlm_models::Decoder`]'s, in operations with a gradient ([`ops`]); who sees whom
//! is [`skimlm_core::Visibility::Anchored`] as lists ([`Sees`]). Checkpoints are folders that the normal
//! loader reads.

pub mod anchors;
pub mod checkpoint;
pub mod course;
pub mod journal;
pub mod net;
pub mod ops;
pub mod optim;
pub mod plot;
pub mod source;
pub mod store;
pub mod task;
pub mod text;
pub mod words;

mod lora;
mod random;
mod sees;

pub use sees::{Sees, anchored};
