use std::ops::Range;

use super::Family;
use crate::config::Config;
use crate::weights::{LayerPart, Part};

/// Where a part of a model is found in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// The tensor's name.
    pub(crate) tensor: String,
    /// Its rows, where several parts share a tensor; none: all.
    pub(crate) rows: Option<Range<usize>>,
}

impl Family {
    /// Where a part is in a GGUF file.
    pub(crate) fn gguf_place(&self, part: Part, config: &Config) -> Place {
        self.place(part, config, part.gguf(), "attn_qkv.weight", "ffn_up.weight", "blk")
    }

    /// Where a part is in a Hugging Face checkpoint.
    pub(crate) fn checkpoint_place(&self, part: Part, config: &Config) -> Place {
        let name = part.hugging_face(config.post_norms);
        self.place(part, config, name, "self_attn.qkv_proj.weight", "mlp.gate_up_proj.weight", "model.layers")
    }

    fn place(&self, part: Part, config: &Config, name: String, qkv: &str, gate_up: &str, layers: &str) -> Place {
        if let (true, Part::Layer(layer, part)) = (self.fused, part) {
            let (q, k, mlp) = (config.query_width(), config.key_width(), config.mlp);
            let shared = match part {
                LayerPart::Query => Some((qkv, 0..q)),
                LayerPart::Key => Some((qkv, q..q + k)),
                LayerPart::Value => Some((qkv, q + k..q + 2 * k)),
                LayerPart::Gate => Some((gate_up, 0..mlp)),
                LayerPart::Up => Some((gate_up, mlp..2 * mlp)),
                _ => None,
            };
            if let Some((shared, rows)) = shared {
                return Place { tensor: format!("{layers}.{layer}.{shared}"), rows: Some(rows) };
            }
        }
        Place { tensor: name, rows: None }
    }
}
