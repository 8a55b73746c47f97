//! Opening a model with everything a request needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::DType;
use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Model, Result};
use skimlm_models::OpenOptions;
use skimlm_models::weights::gguf::Gguf;
use skimlm_policies::registry;

use crate::text::{ChatTemplate, Declared, GgufVocab, Tokenizer};

/// How to load a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadOptions {
    /// Positions to allow; none: those the model was trained for, which is also the most.
    pub context_length: Option<usize>,
    /// Threads to compute with; none: one a core.
    pub threads: Option<usize>,
    /// Type of cached keys and values: `auto`, `f32`, `f16` or `bf16`.
    pub dtype: Option<String>,
    /// A `tokenizer.json` to use instead of the file's own.
    pub tokenizer: Option<PathBuf>,
    /// A Jinja template to use instead of the file's own.
    pub chat_template: Option<String>,
    /// Look for NaN in all weights.
    pub verify: bool,
    /// Requests that may wait before `ERR_BUSY`.
    pub max_queue: Option<usize>,
}

/// What is known of a model without its weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// What the file says.
    #[serde(flatten)]
    pub file: skimlm_models::ModelInfo,
    /// Policies that are right on this model.
    pub supported_policies: Vec<&'static str>,
}

impl From<skimlm_models::ModelInfo> for ModelInfo {
    fn from(file: skimlm_models::ModelInfo) -> Self {
        Self { file, supported_policies: registry::kinds() }
    }
}

/// Reads a model's header. Weights are not touched.
pub fn inspect(path: &Path) -> Result<ModelInfo> {
    Ok(skimlm_models::inspect(path)?.into())
}

/// A model, its tokenizer and its template.
pub struct Loaded {
    /// The decoder.
    pub model: Box<dyn Model>,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template, if there is one.
    pub template: Option<Arc<ChatTemplate>>,
    /// The header.
    pub info: ModelInfo,
    /// Type of cached keys and values.
    pub dtype: DType,
    /// Positions a session may use.
    pub limit: usize,
}

/// Opens a model. `progress` is told bytes done and bytes in all; an error from it ends the loading.
pub fn load(path: &Path, options: &LoadOptions, progress: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<Loaded> {
    let dtype = cache_type(options.dtype.as_deref())?;
    if let Some(tokens @ 0) = options.context_length {
        return Err(Error::invalid_option("contextLength", tokens, "at least 1"));
    }
    let open = OpenOptions { verify: options.verify, progress: Some(progress), ..OpenOptions::default() };
    let opened = skimlm_models::open_with(path, open)?;
    let tokenizer = tokenizer(&opened.gguf, options.tokenizer.as_deref())?;
    let shape = opened.model.shape();
    tokenizer.check_rows(shape.vocab)?;
    let source = options.chat_template.as_deref().or(opened.info.chat_template.as_deref());
    let text = |id: Option<u32>| id.map(|id| tokenizer.token_text(id)).unwrap_or_default();
    let template = source
        .map(|source| ChatTemplate::new(source, &text(tokenizer.bos()), &text(tokenizer.end_tokens().first().copied())))
        .transpose()?;
    let limit = options.context_length.unwrap_or(shape.max_positions);
    if limit > shape.max_positions {
        let expected = format!("at most {}, the positions the model was trained for", shape.max_positions);
        return Err(Error::invalid_option("contextLength", limit, expected));
    }
    Ok(Loaded {
        tokenizer: Arc::new(tokenizer),
        template: template.map(Arc::new),
        info: opened.info.into(),
        model: Box::new(opened.model),
        dtype,
        limit,
    })
}

fn tokenizer(gguf: &Gguf, json: Option<&Path>) -> Result<Tokenizer> {
    let vocab = GgufVocab::read(gguf);
    match json {
        // The file's own list of tokens may be missing where another one is named.
        Some(json) => {
            let declared = vocab.map_or_else(|_| Declared::default(), |vocab| Declared::from(&vocab));
            Tokenizer::from_json_file(json, declared)
        }
        None => Tokenizer::from_gguf(vocab?),
    }
}

/// f16 halves the cache against f32 and moves the logits of the default model by less than 0.02.
fn cache_type(name: Option<&str>) -> Result<DType> {
    match name {
        None | Some("auto" | "f16") => Ok(DType::F16),
        Some("f32") => Ok(DType::F32),
        Some("bf16") => Ok(DType::BF16),
        Some(other) => Err(Error::invalid_option("dtype", other, "auto, f32, f16 or bf16")),
    }
}

/// The threads to compute with.
pub(crate) fn thread_pool(threads: Option<usize>) -> Result<rayon::ThreadPool> {
    if let Some(threads @ (0 | 1025..)) = threads {
        return Err(Error::invalid_option("threads", threads, "1 to 1024"));
    }
    let mut builder = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("skimlm-{i}"));
    if let Some(threads) = threads {
        builder = builder.num_threads(threads);
    }
    builder.build().map_err(|e| Error::new(Code::Internal, "the threads to compute with did not start.").caused_by(e))
}
