//! Qwen3, dense: every head of queries and keys has a norm.

use super::{Family, Windows};

pub(super) static FAMILY: Family = Family {
    name: "qwen3",
    gguf_architectures: &["qwen3"],
    model_types: &["qwen3"],
    windows: Windows::Asked,
    ..Family::COMMON
};
