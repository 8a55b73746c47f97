//! Mistral 7B and Mistral Nemo, whose heads are narrower than their share of the hidden size.
//!
//! As GGUF they are files of the llama architecture.

use super::{Family, FilterLayer};

pub(super) static FAMILY: Family = Family {
    name: "mistral",
    model_types: &["mistral"],
    // Mistral Nemo 12B: GemFilter (arXiv 2409.17422).
    filter_layers: &[FilterLayer { layers: 40, hidden: 5120, vocab: 131072, layer: 19 }],
    ..Family::COMMON
};
