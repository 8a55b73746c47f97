//! Tensor operations of skimlm: attention, scores, selection, gather, RoPE, norm and linear layers.
//!
//! A folder holds one operation: `mod.rs` states the contract and picks an implementation,
//! `reference.rs` is the plain implementation that defines the result, `cpu` is the fast one.
//! `SKIMLM_KERNELS=reference` forces the plain implementations everywhere; `avx2` and `scalar` hold
//! the fast ones back to what a lesser processor would run.
//!
//! This crate knows neither models nor policies. Tensors come in and go out as candle tensors;
//! activations and scores are f32, cached keys and values f32, f16 or bf16.

pub mod activation;
pub mod attention;
pub mod gather;
pub mod linear;
pub mod norm;
pub mod residual;
pub mod rope;
pub mod scores;
pub mod select;

mod error;
mod host;
mod output;
mod rows;
mod simd;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};

use std::sync::OnceLock;

/// Whether `SKIMLM_KERNELS=reference` asks for the plain implementations. Read once.
pub fn reference_forced() -> bool {
    static FORCED: OnceLock<bool> = OnceLock::new();
    *FORCED.get_or_init(|| std::env::var("SKIMLM_KERNELS").is_ok_and(|v| v == "reference"))
}
