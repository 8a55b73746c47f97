//! A safetensors folder as the GGUF file that llama.cpp's converter makes of it.

use serde_json::Value;
use skimlm_core::Rotary;
use skimlm_kernels::linear::BlockType;

use super::floats;
use crate::Config;
use crate::rope::Pairing;
use crate::weights::gguf::write::{Meta, TensorData, interleave};
use crate::weights::safetensors::Folder;
use crate::weights::{LayerPart, Part, Weights};

type Metadata = Vec<(String, Meta)>;

/// Metadata and tensors; none where GGUF cannot say what the config says.
pub(super) fn gguf_of(json: &Value, folder: &Folder) -> Option<(Metadata, Vec<TensorData>)> {
    let weights = folder.weights().unwrap();
    let config = weights.config();
    let architecture = match json["model_type"].as_str().unwrap() {
        "llama" | "mistral" => "llama",
        "gemma3_text" => "gemma3",
        other => other,
    };
    let rope = [&json["rope_parameters"]["full_attention"], &json["rope_parameters"], &json["rope_scaling"]];
    let rope = rope.into_iter().find(|rope| !rope.is_null()).cloned().unwrap_or_default();
    let kind = rope["rope_type"].as_str().or(rope["type"].as_str()).unwrap_or("default");
    let unspeakable =
        !json["layer_types"].is_null() || !json["max_window_layers"].is_null() || rope["truncate"] == false;
    // llama.cpp takes a missing factor for the head's size, transformers for 1.
    let unstated = architecture == "granite" && json["attention_multiplier"].is_null();
    if unspeakable || unstated || kind == "dynamic" {
        return None;
    }
    let number = |n: usize| Meta::U32(n as u32);
    let float = |value: &Value| Meta::F32(value.as_f64().unwrap() as f32);
    let mut metadata: Metadata = vec![("general.architecture".into(), Meta::Text(architecture.into()))];
    let mut put = |key: &str, value: Meta| metadata.push((format!("{architecture}.{key}"), value));
    put("block_count", number(config.layers.len()));
    put("context_length", number(json["max_position_embeddings"].as_u64().unwrap() as usize));
    put("embedding_length", number(config.hidden));
    put("feed_forward_length", number(config.mlp));
    put("attention.head_count", number(config.heads));
    put("attention.head_count_kv", number(config.kv_heads));
    put("attention.layer_norm_rms_epsilon", Meta::F32(config.eps));
    put("rope.freq_base", Meta::F32(config.rotaries[0].base as f32));
    put("rope.dimension_count", number(config.rotaries[0].dims));
    if config.head_dim * config.heads != config.hidden {
        put("attention.key_length", number(config.head_dim));
        put("attention.value_length", number(config.head_dim));
    }
    if let Some(window) = config.layers.iter().find_map(|layer| layer.window) {
        put("attention.sliding_window", Meta::U32(window));
    }
    if let Some(every) = json["sliding_window_pattern"].as_u64() {
        put("attention.sliding_window_pattern", number(every as usize));
    }
    if !json["query_pre_attn_scalar"].is_null() {
        put("attention.scale", Meta::F32(config.scale));
    }
    for (key, name) in [
        ("attention.scale", "attention_multiplier"),
        ("embedding_scale", "embedding_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
    ] {
        if !json[name].is_null() {
            put(key, float(&json[name]));
        }
    }
    let mut tensors = Vec::new();
    let mut vector = |name: &str, values: &[f32]| {
        tensors.push(TensorData::new(name, values, values.len(), BlockType::F32).unwrap());
    };
    let floats =
        |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect::<Vec<_>>();
    match kind {
        "llama3" => vector("rope_freqs.weight", &divisors(config)),
        "longrope" => {
            put(
                "rope.scaling.original_context_length",
                number(json["original_max_position_embeddings"].as_u64()? as usize),
            );
            vector("rope_factors_short.weight", &floats(&rope["short_factor"]));
            vector("rope_factors_long.weight", &floats(&rope["long_factor"]));
        }
        "yarn" | "linear" => {
            put("rope.scaling.type", Meta::Text(kind.into()));
            put("rope.scaling.factor", float(&rope["factor"]));
            if let Some(original) = rope["original_max_position_embeddings"].as_u64() {
                put("rope.scaling.original_context_length", number(original as usize));
            }
        }
        _ => {}
    }
    let stored = stored(&weights, architecture);
    Some((metadata, tensors.into_iter().chain(stored).collect()))
}

/// By how much the frequencies are smaller than the plain ones.
fn divisors(config: &Config) -> Vec<f32> {
    let rotary = &config.rotaries[0];
    let plain = Rotary::plain(rotary.base, rotary.dims, Pairing::Half);
    plain.inv_freq.iter().zip(rotary.rotary(64).inv_freq).map(|(plain, scaled)| (plain / scaled) as f32).collect()
}

fn stored(weights: &dyn Weights, architecture: &str) -> Vec<TensorData> {
    let config = weights.config();
    let permuted = ["llama", "granite"].contains(&architecture);
    let mut tensors: Vec<TensorData> = Vec::new();
    for part in Part::all(config) {
        let (rows, cols) = part.shape(config);
        let values = if rows == 1 { weights.vector(part).unwrap() } else { floats(&weights.matrix(part).unwrap()) };
        let values = match part {
            Part::Layer(_, LayerPart::Query) if permuted => interleave(&values, config.heads, cols),
            Part::Layer(_, LayerPart::Key) if permuted => interleave(&values, config.kv_heads, cols),
            _ => values,
        };
        let name = name(part, architecture == "phi3");
        let tensor = TensorData::new(&name, &values, cols, BlockType::F32).unwrap();
        match tensors.iter_mut().find(|tensor| tensor.name == name) {
            None => tensors.push(tensor),
            Some(shared) => {
                shared.dims[1] += tensor.dims[1];
                shared.bytes.extend(tensor.bytes);
            }
        }
    }
    tensors
}

/// The names of gguf-py, written out once more.
fn name(part: Part, fused: bool) -> String {
    use LayerPart as P;
    let (layer, part) = match part {
        Part::Embedding => return "token_embd.weight".into(),
        Part::FinalNorm => return "output_norm.weight".into(),
        Part::Head => return "output.weight".into(),
        Part::Layer(layer, part) => (layer, part),
    };
    let name = match part {
        P::Query | P::Key | P::Value if fused => "attn_qkv.weight",
        P::Gate | P::Up if fused => "ffn_up.weight",
        P::AttentionNorm => "attn_norm.weight",
        P::Query => "attn_q.weight",
        P::Key => "attn_k.weight",
        P::Value => "attn_v.weight",
        P::QueryBias => "attn_q.bias",
        P::KeyBias => "attn_k.bias",
        P::ValueBias => "attn_v.bias",
        P::QueryNorm => "attn_q_norm.weight",
        P::KeyNorm => "attn_k_norm.weight",
        P::Output => "attn_output.weight",
        P::PostAttentionNorm => "post_attention_norm.weight",
        P::MlpNorm => "ffn_norm.weight",
        P::Gate => "ffn_gate.weight",
        P::Up => "ffn_up.weight",
        P::Down => "ffn_down.weight",
        P::PostMlpNorm => "post_ffw_norm.weight",
    };
    format!("blk.{layer}.{name}")
}
