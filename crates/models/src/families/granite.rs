//! Granite 3 and 4, dense: Llama with factors on the embedding, on `q.k`, on what layers add and on logits.

use super::Family;
use crate::rope::Pairing;

pub(super) static FAMILY: Family = Family {
    name: "granite",
    gguf_architectures: &["granite"],
    model_types: &["granite"],
    gguf_pairing: Pairing::Interleaved,
    unstated_scale: Some(1.0),
    ..Family::COMMON
};
