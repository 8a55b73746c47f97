//! What tests of several policies need.

use skimlm_core::{LayerShape, Shape};

/// A model of two query heads with these layers.
pub(crate) fn shape(layers: Vec<LayerShape>) -> Shape {
    Shape { hidden: 8, heads: 2, kv_heads: 1, head_dim: 4, vocab: 16, max_positions: 64, scale: 0.5, layers }
}
