//! What a run leaves on disk: a model that the loader reads, and the state to go on from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::DType;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skimlm_core::{Code, Error, Result};
use skimlm_engine::files;
use skimlm_models::Config;
use skimlm_models::rope::Scaling;

use crate::net::Net;
use crate::optim::Optimizer;
use crate::store;

/// Files of a model beside its weights: name and content.
pub type Files = Vec<(String, Vec<u8>)>;

/// A folder of a run.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    folder: PathBuf,
}

impl Checkpoint {
    /// The folder `folder`, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into() }
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log.jsonl")
    }

    /// The picture of the log.
    pub fn plot(&self) -> PathBuf {
        self.folder.join("curve.svg")
    }

    /// The state of an unfinished run: one file, so that it is of one moment.
    pub fn state(&self) -> PathBuf {
        self.folder.join("training/state.safetensors")
    }

    /// Writes the model with its files.
    pub fn save_model(&self, net: &Net, files: &Files, dtype: DType) -> Result<()> {
        let weights = store::tensors_to_bytes(&net.merged()?, dtype, Some(HashMap::from([format_note()])))?;
        for (name, bytes) in files {
            files::write(&self.folder.join(name), bytes)?;
        }
        files::write(&self.folder.join("model.safetensors"), &weights)
    }

    /// Writes variables, moments and `progress`.
    pub fn save_state<P: Serialize>(&self, optimizer: &Optimizer, progress: &P) -> Result<()> {
        let mut tensors = Vec::new();
        for slot in &optimizer.slots {
            tensors.push((format!("var/{}", slot.name), slot.var.as_detached_tensor()));
            tensors.push((format!("first/{}", slot.name), slot.first.clone()));
            tensors.push((format!("second/{}", slot.name), slot.second.clone()));
        }
        let progress = serde_json::to_string(progress)
            .map_err(|e| Error::new(Code::Internal, format!("the state of the run cannot be written: {e}")))?;
        let meta =
            HashMap::from([("steps".to_owned(), optimizer.steps.to_string()), ("progress".to_owned(), progress)]);
        files::write(&self.state(), &store::tensors_to_bytes(&tensors, DType::F32, Some(meta))?)
    }

    /// Reads what [`Checkpoint::save_state`] wrote into variables of the same names and shapes.
    /// `ERR_MODEL_CORRUPT` if it is damaged or of another model.
    pub fn load_state<P: DeserializeOwned>(&self, optimizer: &mut Optimizer) -> Result<P> {
        let path = self.state();
        let damaged = |what: String| {
            let what = format!("{}: {what}. Start the run anew, or with the settings it had.", path.display());
            Error::new(Code::ModelCorrupt, what).with("path", path.display().to_string())
        };
        let (tensors, meta) = store::tensors_from_bytes(&files::read(&path)?, &path)?;
        let found = |kind: &str, name: &str, like: &[usize]| match tensors.get(&format!("{kind}/{name}")) {
            Some(tensor) if tensor.dims() == like => Ok(tensor.clone()),
            Some(tensor) => Err(damaged(format!("{kind} of {name} is {:?}, not {like:?}", tensor.dims()))),
            None => Err(damaged(format!("it has no {kind} of {name}"))),
        };
        let entry = |key: &str| meta.get(key).ok_or_else(|| damaged(format!("it has no {key}")));
        let steps = entry("steps")?.parse().map_err(|_| damaged("`steps` is no number".into()))?;
        let progress = serde_json::from_str(entry("progress")?).map_err(|e| damaged(e.to_string()))?;
        let mut read = Vec::new();
        for slot in &optimizer.slots {
            let of = |kind| found(kind, &slot.name, slot.var.dims());
            read.push([of("var")?, of("first")?, of("second")?]);
        }
        for (slot, [var, first, second]) in optimizer.slots.iter_mut().zip(read) {
            slot.var.set(&var)?;
            (slot.first, slot.second) = (first, second);
        }
        optimizer.steps = steps;
        Ok(progress)
    }
}

/// Transformers refuses files without it.
fn format_note() -> (String, String) {
    ("format".into(), "pt".into())
}

/// The `config.json` of a model, as [`skimlm_models::weights::safetensors`] reads it.
/// `ERR_MODEL_UNSUPPORTED` for rotations and windows that it cannot state.
pub fn config_json(config: &Config, bos: Option<u32>, ends: &[u32]) -> Result<Vec<u8>> {
    let [rotary] = &config.rotaries[..] else {
        return Err(unsupported(config, "several kinds of rotation"));
    };
    if rotary.scaling != Scaling::None {
        return Err(unsupported(config, "a scaled rotation"));
    }
    if config.layers.iter().any(|layer| layer.window.is_some()) {
        return Err(unsupported(config, "layers with a sliding window"));
    }
    let (model_type, name) =
        if config.qkv_bias { ("qwen2", "Qwen2ForCausalLM") } else { ("llama", "LlamaForCausalLM") };
    let settings: Value = json!({
        "architectures": [name], "model_type": model_type, "hidden_size": config.hidden,
        "num_hidden_layers": config.layers.len(), "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads, "head_dim": config.head_dim, "intermediate_size": config.mlp,
        "vocab_size": config.vocab, "max_position_embeddings": config.max_positions, "rms_norm_eps": config.eps,
        "rope_theta": rotary.base, "hidden_act": "silu", "tie_word_embeddings": config.tied_head,
        "bos_token_id": bos, "eos_token_id": ends,
    });
    let mut text = serde_json::to_vec_pretty(&settings)
        .map_err(|e| Error::new(Code::Internal, format!("config.json cannot be written: {e}")))?;
    text.push(b'\n');
    Ok(text)
}

fn unsupported(config: &Config, what: &str) -> Error {
    Error::new(
        Code::ModelUnsupported,
        format!(
            "The model `{}` has {what}; train from its safetensors folder, whose config.json is kept.",
            config.architecture
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors;

    #[test]
    fn what_a_config_cannot_state_is_refused() {
        let plain = anchors::config(16, 2, 24).unwrap();
        config_json(&plain, None, &[]).unwrap();
        let mut windowed = plain.clone();
        windowed.layers[1].window = Some(64);
        let mut scaled = plain.clone();
        scaled.rotaries[0].scaling = Scaling::Linear { factor: 2.0 };
        for (config, what) in [(windowed, "sliding window"), (scaled, "scaled rotation")] {
            let error = config_json(&config, None, &[]).unwrap_err();
            assert_eq!(error.code, Code::ModelUnsupported);
            assert!(error.message.contains(what), "{error}");
        }
    }
}
