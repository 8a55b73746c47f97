//! Phi-3, Phi-3.5 mini and Phi-4: fused projections, LongRoPE, on Phi-4 mini a part of each head rotated.

use super::{Family, FilterLayer};

pub(super) static FAMILY: Family = Family {
    name: "phi3",
    gguf_architectures: &["phi3"],
    model_types: &["phi3"],
    fused: true,
    // Phi 3.5 mini: GemFilter (arXiv 2409.17422).
    filter_layers: &[FilterLayer { layers: 32, hidden: 3072, vocab: 32064, layer: 19 }],
    ..Family::COMMON
};
