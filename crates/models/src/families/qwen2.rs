//! Qwen2 and Qwen2.5: queries, keys and values have biases.

use super::{Family, FilterLayer, Windows};

pub(super) static FAMILY: Family = Family {
    name: "qwen2",
    gguf_architectures: &["qwen2"],
    model_types: &["qwen2"],
    windows: Windows::Asked,
    // Qwen2 7B: the published code of PromptDistill's GemFilter baseline.
    filter_layers: &[FilterLayer { layers: 28, hidden: 3584, vocab: 152064, layer: 19 }],
    ..Family::COMMON
};
