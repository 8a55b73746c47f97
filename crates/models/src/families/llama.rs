//! Llama 2 and 3, and what shares its layout: SmolLM2, TinyLlama, Mistral as GGUF.
//!
//! GGUF files of this architecture hold the rows of q and k permuted for interleaved RoPE.

use super::{Family, FilterLayer};
use crate::rope::Pairing;

pub(super) static FAMILY: Family = Family {
    name: "llama",
    gguf_architectures: &["llama"],
    model_types: &["llama"],
    gguf_pairing: Pairing::Interleaved,
    filter_layers: &[
        // SmolLM2 135M: measured here; the evidence is found by softmax over 16 queries from layer 15 on.
        FilterLayer { layers: 30, hidden: 576, vocab: 49152, layer: 15 },
        // Llama 3.1 8B: GemFilter (arXiv 2409.17422).
        FilterLayer { layers: 32, hidden: 4096, vocab: 128256, layer: 13 },
    ],
    ..Family::COMMON
};
