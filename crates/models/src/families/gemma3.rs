//! Gemma 3, text only: five layers with a window and a base of their own for each one without, norms
//! on both sides of attention and MLP, a scaled embedding.

use super::{Family, Windows};
use crate::config::{Activation, Config};

pub(super) static FAMILY: Family = Family {
    name: "gemma3",
    gguf_architectures: &["gemma3"],
    model_types: &["gemma3_text"],
    windows: Windows::Pattern(6),
    local_base: Some(10_000.0),
    global_base: 1_000_000.0,
    post_norms: true,
    norm_offset: 1.0,
    scaled_embedding: true,
    activation: Activation::Gelu,
    gguf_adjust: adjust,
    ..Family::COMMON
};

/// GGUF files do not state that the 27B model scales queries by its hidden size's share of a head.
fn adjust(config: &mut Config) {
    if config.layers.len() == 62 {
        config.scale = (config.heads as f32 / config.hidden as f32).sqrt();
    }
}
