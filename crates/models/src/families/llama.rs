//! Llama, and what shares its layout: SmolLM2, TinyLlama, Mistral and Mistral Nemo as GGUF.
//!
//! GGUF files of this architecture hold the rows of q and k permuted for interleaved RoPE.

use skimlm_core::Result;

use super::{Family, FilterLayer, gguf};
use crate::config::Config;
use crate::rope::Pairing;
use crate::weights::gguf::{Gguf, Place};

pub(super) static FAMILY: Family = Family {
    name: "llama",
    gguf_architectures: &["llama"],
    gguf_config: config,
    gguf_place: Place::common,
    filter_layers: &[
        // SmolLM2 135M: measured here; the evidence is found by softmax over 16 queries from layer 15 on.
        FilterLayer { layers: 30, hidden: 576, vocab: 49152, layer: 15 },
        // Llama 3.1 8B and Mistral Nemo 12B: GemFilter (arXiv 2409.17422).
        FilterLayer { layers: 32, hidden: 4096, vocab: 128256, layer: 13 },
        FilterLayer { layers: 40, hidden: 5120, vocab: 131072, layer: 19 },
    ],
};

fn config(gguf: &Gguf) -> Result<Config> {
    gguf::config(gguf, Pairing::Interleaved)
}
