//! Small safetensors folders for tests, made on the spot.
//!
//! [`write_tiny`] writes the model that [`crate::weights::gguf::write::write_tiny`] writes, in the
//! other format: settings, weights, tokenizer and template.

use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, View};
use serde_json::{Map, Value, json};
use skimlm_core::{Code, Error, Result};

use crate::weights::gguf::write::{Tiny, Vocabulary};
use crate::weights::random::{self, Random, Sizes};
use crate::weights::{Part, Weights};

/// A tensor with its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorData {
    /// Its name.
    pub name: String,
    /// Its number format.
    pub kind: Dtype,
    /// Its sizes, the slowest running first.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl TensorData {
    /// Values in F32, F16 or BF16; any other format holds their F32 bytes.
    pub fn new(name: &str, values: &[f32], shape: &[usize], kind: Dtype) -> Self {
        let bytes = match kind {
            Dtype::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        Self { name: name.into(), kind, shape: shape.into(), bytes }
    }
}

impl View for &TensorData {
    fn dtype(&self) -> Dtype {
        self.kind
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The bytes of a safetensors file.
pub fn safetensors_bytes(tensors: &[TensorData]) -> Result<Vec<u8>> {
    let named = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor));
    safetensors::serialize(named, None)
        .map_err(|error| Error::new(Code::Internal, format!("the tensors cannot be written: {error}")).caused_by(error))
}

/// Writes `config.json` and the weights, over `shards` files with an index if that is more than one.
pub fn write_folder(folder: &Path, config: &str, tensors: &[TensorData], shards: usize) -> Result<()> {
    put(folder, "config.json", config.as_bytes())?;
    if shards <= 1 {
        return put(folder, "model.safetensors", &safetensors_bytes(tensors)?);
    }
    let mut map = Vec::new();
    for (i, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = format!("model-{:05}-of-{shards:05}.safetensors", i + 1);
        put(folder, &name, &safetensors_bytes(part)?)?;
        map.extend(part.iter().map(|tensor| format!("{:?}: {name:?}", tensor.name)));
    }
    put(folder, "model.safetensors.index.json", format!("{{\"weight_map\": {{{}}}}}", map.join(", ")).as_bytes())
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(|error| {
        Error::new(Code::Internal, format!("{} cannot be written: {error}", path.display())).caused_by(error)
    })
}

/// The tensors of the random model of some sizes, by their Hugging Face names.
pub(super) fn tensors(sizes: &Sizes, kind: Dtype) -> Result<Vec<TensorData>> {
    let random = Random::new(sizes)?;
    let config = random.config();
    let tensor = |part: Part| {
        let (rows, cols) = part.shape(config);
        let shape = if rows == 1 { vec![cols] } else { vec![rows, cols] };
        TensorData::new(&part.hugging_face(false), &random::values(part, config), &shape, kind)
    };
    Ok(Part::all(config).map(tensor).collect())
}

/// Writes a [`Tiny`] model with weights of one format into a folder that is there. Its `block` and
/// vocabulary sizes beyond the tokenizer's are ignored.
pub fn write_tiny(folder: &Path, tiny: &Tiny, kind: Dtype) -> Result<()> {
    let sizes = &tiny.sizes;
    let settings = json!({
        "model_type": "llama", "hidden_size": sizes.hidden, "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads, "num_key_value_heads": sizes.kv_heads, "head_dim": sizes.head_dim,
        "intermediate_size": sizes.mlp, "vocab_size": sizes.vocab, "max_position_embeddings": sizes.max_positions,
        "rms_norm_eps": sizes.eps, "rope_theta": sizes.theta, "hidden_act": "silu", "tie_word_embeddings": false,
        "bos_token_id": 1, "eos_token_id": 2,
    });
    write_folder(folder, &settings.to_string(), &tensors(sizes, kind)?, 1)?;
    put(folder, "generation_config.json", json!({ "eos_token_id": [2, 0] }).to_string().as_bytes())?;
    if tiny.tokenizer {
        put(folder, "tokenizer.json", tokenizer().to_string().as_bytes())?;
    }
    let words = json!({
        "bos_token": "<|im_start|>", "eos_token": { "content": "<|im_end|>" }, "add_bos_token": false,
        "chat_template": tiny.chat_template,
    });
    put(folder, "tokenizer_config.json", words.to_string().as_bytes())
}

/// [`Vocabulary::tiny`] as a `tokenizer.json`.
fn tokenizer() -> Value {
    let Vocabulary { tokens, types, merges } = Vocabulary::tiny();
    let added: Vec<Value> = (tokens.iter().zip(&types).enumerate())
        .filter(|(_, (_, kind))| **kind == 3)
        .map(|(id, (content, _))| json!({ "id": id, "content": content, "special": true }))
        .collect();
    let vocab: Map<String, Value> = tokens.into_iter().zip((0u32..).map(Value::from)).collect();
    let split = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let digits = json!({ "type": "Digits", "individual_digits": true });
    json!({
        "version": "1.0", "added_tokens": added, "normalizer": null, "post_processor": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [digits, split] }, "decoder": split,
        "model": { "type": "BPE", "vocab": vocab, "merges": merges },
    })
}
