//! Tensor operations of skimlm: what a decoder computes with (linear layers, norm, RoPE, attention over cached rows,
//! residuals), what policies measure and move (scores, keys, selection, gather) and what chooses tokens (logits, draw).
//!
//! A folder holds one operation: `mod.rs` states the contract and picks an implementation,
//! `reference.rs` is the plain implementation that defines the result, `cpu` is the fast one. What is one
//! loop for both stands in `mod.rs`.
//! `SKIMLM_KERNELS` picks one of the [`Level`]s: `reference` the plain implementations everywhere, the
//! others hold the fast ones back to what a lesser processor would run.
//!
//! This crate knows neither models nor policies. Tensors come in and go out as candle tensors;
//! activations and scores are f32, cached keys and values f32, f16, bf16 or blocks of 8-bit integers.

#[macro_use]
mod on_gpu;
#[macro_use]
mod skipped;
#[macro_use]
mod stored;

pub mod allocator;
pub mod attention;
pub mod cached;
pub mod device;
pub mod draw;
pub mod gather;
pub mod keys;
pub mod linear;
pub mod logits;
pub mod norm;
pub mod peak;
pub mod residual;
pub mod rope;
pub mod scores;
pub mod select;
pub mod steps;
pub mod threads;

mod activation;
mod error;
#[cfg(any(feature = "cuda", test))]
mod gpu;
mod host;
mod level;
mod output;
mod rows;
mod simd;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use level::{Level, features, level};
#[doc(hidden)]
pub use skipped::say_skipped;

/// Whether the plain implementations are asked for.
pub(crate) fn reference_forced() -> bool {
    level::current() == Level::Reference
}
