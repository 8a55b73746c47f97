//! The settings in `config.json`, with the RoPE keys of old files (`rope_theta`, `rope_scaling`) and
//! of new ones (`rope_parameters`).

mod rope;

use serde::Deserialize;
use serde_json::Value;
use skimlm_core::{Error, Result};

use super::{FAMILIES, Family, Windows, refuse, unknown};
use crate::config::{Activation, Config};
use crate::fail::corrupt;

/// What is read of a `config.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct ConfigJson {
    model_type: Option<String>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    query_pre_attn_scalar: Option<f64>,
    attention_multiplier: Option<f32>,
    embedding_multiplier: Option<f32>,
    residual_multiplier: Option<f32>,
    logits_scaling: Option<f32>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    tie_word_embeddings: Option<bool>,
    sliding_window: Option<u32>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    rope_theta: Option<f64>,
    rope_local_base_freq: Option<f64>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
    final_logit_softcapping: Option<f64>,
    attn_logit_softcapping: Option<f64>,
    use_bidirectional_attention: Option<bool>,
    quantization_config: Option<Value>,
    /// One token or several that end an answer.
    pub(crate) eos_token_id: Option<Ids>,
    /// The token that texts begin with.
    pub(crate) bos_token_id: Option<u32>,
}

/// One id or a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ids {
    /// One.
    One(u32),
    /// Several.
    Many(Vec<u32>),
}

impl Ids {
    /// As a list.
    pub(crate) fn list(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// The family of a `config.json` and its settings, not checked against each other yet. `has` knows
/// whether the checkpoint holds a tensor.
pub(crate) fn of_json(json: &ConfigJson, has: &dyn Fn(&str) -> bool) -> Result<(&'static Family, Config)> {
    let name = json.model_type.as_deref().ok_or_else(|| missing("model_type"))?;
    let family = FAMILIES.iter().find(|family| family.model_types.contains(&name)).ok_or_else(|| unknown(name))?;
    Ok((family, Settings { json, family, name }.config(has)?))
}

struct Settings<'a> {
    json: &'a ConfigJson,
    family: &'static Family,
    name: &'a str,
}

impl Settings<'_> {
    fn config(&self, has: &dyn Fn(&str) -> bool) -> Result<Config> {
        let Self { json, family, name } = *self;
        self.refuse_what_is_left_out()?;
        let size = |value: Option<usize>, key| value.ok_or_else(|| missing(key));
        let hidden = size(json.hidden_size, "hidden_size")?;
        let heads = size(json.num_attention_heads, "num_attention_heads")?;
        let head_dim = json.head_dim.or_else(|| hidden.checked_div(heads)).unwrap_or(0);
        let claimed = size(json.max_position_embeddings, "max_position_embeddings")?;
        let rotaries = self.rotaries(head_dim, claimed)?;
        let max_positions = rotaries.iter().fold(claimed, |reach, rotary| rotary.scaling.reach(reach));
        let (slides, window) = self.sliding()?;
        let by_size = || json.query_pre_attn_scalar.unwrap_or(head_dim as f64).powf(-0.5) as f32;
        Ok(Config {
            architecture: name.into(),
            hidden,
            heads,
            kv_heads: json.num_key_value_heads.unwrap_or(heads),
            head_dim,
            mlp: size(json.intermediate_size, "intermediate_size")?,
            vocab: size(json.vocab_size, "vocab_size")?,
            max_positions,
            eps: json.rms_norm_eps.ok_or_else(|| missing("rms_norm_eps"))?,
            scale: json.attention_multiplier.or(family.unstated_scale).unwrap_or_else(by_size),
            layers: family.layers(&slides, window, max_positions),
            rotaries,
            qkv_bias: has("model.layers.0.self_attn.q_proj.bias"),
            qk_norm: has("model.layers.0.self_attn.q_norm.weight"),
            post_norms: family.post_norms,
            tied_head: json.tie_word_embeddings == Some(true) || !has("lm_head.weight"),
            embed_scale: json.embedding_multiplier.unwrap_or_else(|| family.embed_scale(hidden)),
            residual_scale: json.residual_multiplier.unwrap_or(1.0),
            logit_scale: 1.0 / json.logits_scaling.unwrap_or(1.0),
            activation: self.activation()?,
        })
    }

    /// Every layer has tensors; the caller compares their number with the checkpoint's.
    fn sliding(&self) -> Result<(Vec<bool>, Option<u32>)> {
        let json = self.json;
        let layers = json.num_hidden_layers.ok_or_else(|| missing("num_hidden_layers"))?;
        if layers > MAX_LAYERS {
            return Err(corrupt(format!("`num_hidden_layers` is {layers}; at most {MAX_LAYERS} are allowed.")));
        }
        let window = json.sliding_window.filter(|&window| window > 0);
        let asked = self.family.windows != Windows::Asked || json.use_sliding_window == Some(true);
        let window = window.filter(|_| asked && json.use_sliding_window != Some(false));
        let Some(types) = &json.layer_types else {
            let from = json.max_window_layers.unwrap_or(0);
            let slides = match self.family.windows {
                Windows::All => vec![true; layers],
                Windows::Asked => (0..layers).map(|layer| layer >= from).collect(),
                Windows::Pattern(every) => {
                    let every = json.sliding_window_pattern.unwrap_or(every).max(1);
                    (1..=layers).map(|layer| !layer.is_multiple_of(every)).collect()
                }
            };
            return Ok((slides, window));
        };
        if types.len() != layers {
            return Err(corrupt(format!("`layer_types` has {} entries for {layers} layers.", types.len())));
        }
        let slides = types.iter().map(|kind| match kind.as_str() {
            "sliding_attention" => Ok(true),
            "full_attention" => Ok(false),
            other => {
                Err(self.refuse(format!("a layer is of the type `{other}`; full and sliding attention can be run")))
            }
        });
        Ok((slides.collect::<Result<_>>()?, window))
    }

    fn activation(&self) -> Result<Activation> {
        let json = self.json;
        match json.hidden_activation.as_deref().or(json.hidden_act.as_deref()) {
            None => Ok(self.family.activation),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh") => Ok(Activation::Gelu),
            Some(other) => {
                Err(self.refuse(format!("the MLP's function is `{other}`; silu and gelu_pytorch_tanh can be run")))
            }
        }
    }

    fn refuse_what_is_left_out(&self) -> Result<()> {
        let json = self.json;
        if json.final_logit_softcapping.is_some() || json.attn_logit_softcapping.is_some() {
            return Err(self.refuse("the model caps its logits, which no decoder here does"));
        }
        if json.use_bidirectional_attention == Some(true) {
            return Err(self.refuse("the model attends in both directions; only causal ones can be run"));
        }
        if let Some(quantization) = &json.quantization_config {
            let method = quantization.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
            return Err(self.refuse(format!(
                "the checkpoint is quantised by `{method}`; f32, f16 and bf16 checkpoints can be run, and GGUF files"
            )));
        }
        Ok(())
    }

    fn refuse(&self, what: impl std::fmt::Display) -> Error {
        refuse(self.name, what)
    }
}

/// Far above any real model; keeps a number in the file from filling memory.
const MAX_LAYERS: usize = 4096;

fn missing(key: &str) -> Error {
    corrupt(format!("`{key}` is missing. Download the model's config.json again.")).with("key", key)
}
