//! Opening a model with everything a request needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::DType;
use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Model, Result};
use skimlm_kernels::cached::{self, Q8_0};
use skimlm_kernels::linear::Activations;
use skimlm_kernels::threads::Threads;
use skimlm_models::{Footprint, OpenOptions, Quantization, Source};
use skimlm_policies::{Context, Profile, registry};

use crate::device::{self, DeviceInfo};
use crate::memory;
use crate::text::{self, ChatTemplate, Declared, GgufVocab, Tokenizer};

/// How to load a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadOptions {
    /// Where the model runs: `cpu`, `cuda`, `cuda:N`, or `auto`, a GPU if one can be used; none: `auto`.
    pub device: Option<String>,
    /// Why a build for the CPU runs, where the caller knows more of it than the build: the reason that there are no
    /// GPUs.
    pub no_gpus: Option<String>,
    /// Positions to allow; none: those the model was trained for, which is also the most.
    pub context_length: Option<usize>,
    /// Threads to compute with; none: one a core.
    pub threads: Option<usize>,
    /// Type of cached keys and values: `auto`, `f32`, `f16` or `bf16`. Or a smaller format for the
    /// weights of a float checkpoint, made while it loads: `q8_0` or `q4_k`; the cache is `auto` then.
    pub dtype: Option<String>,
    /// Type of cached keys and values whatever `dtype` says: `f32`, `f16`, `bf16` or `q8_0`, blocks of 8-bit
    /// integers; `auto` or none: what `dtype` says.
    pub kv_dtype: Option<String>,
    /// How finely layers may round what they multiply with weights in blocks while they read a prompt: `auto` or
    /// none, to 16 bits, which is as fine as f16; or `int8`, to 8 bits where that is faster.
    pub activations: Option<String>,
    /// A `tokenizer.json` to use instead of the file's own.
    pub tokenizer: Option<PathBuf>,
    /// A Jinja template to use instead of the file's own.
    pub chat_template: Option<String>,
    /// A profile that calibration has written; none: the file's name with `.skimlm.json` behind it if there is
    /// one, else the built-in profile of the model, if it has one.
    pub profile: Option<PathBuf>,
    /// Look for NaN in all weights.
    pub verify: bool,
    /// Requests that may wait before `ERR_BUSY`.
    pub max_queue: Option<usize>,
}

impl LoadOptions {
    /// Refuses what no model could be loaded with, before there is one: `ERR_INVALID_ARG`, and `ERR_DEVICE` for a
    /// device that is not there or cannot be used.
    pub fn check(&self) -> Result<()> {
        types(self.dtype.as_deref(), self.kv_dtype.as_deref())?;
        activations(self.activations.as_deref())?;
        device::check(self.device.as_deref(), self.no_gpus.as_deref())
    }
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
    /// Why the model will not load, one sentence each; empty if it will.
    pub unsupported: Vec<String>,
}

impl ModelInfo {
    fn new(file: skimlm_models::ModelInfo, source: &Source) -> Self {
        let context = Context::new(&file.shape, file.default_filter_layer);
        let mut unsupported: Vec<String> = file
            .tensor_types
            .iter()
            .filter(|of| !of.supported)
            .map(|of| format!("{} tensors are in the format {}, which has no kernel.", of.tensors, of.kind))
            .collect();
        unsupported.extend(text::refusal(source).map(|error| error.message));
        Self { supported_policies: registry::supported(&context), unsupported, file }
    }
}

/// Reads a model's header, of its weights the first bytes of each tensor (for the fingerprint), and what it says about
/// text. What is unsupported is listed, except for an unknown architecture, which is `ERR_MODEL_UNSUPPORTED`.
pub fn inspect(path: &Path) -> Result<ModelInfo> {
    let source = Source::open(path)?;
    Ok(ModelInfo::new(skimlm_models::inspect_source(&source)?, &source))
}

/// A model, its tokenizer and its template.
pub struct Loaded {
    /// The decoder.
    pub model: Box<dyn Model>,
    /// Where it runs, as it was before the model was there.
    pub device: DeviceInfo,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template, if there is one.
    pub template: Option<Arc<ChatTemplate>>,
    /// The header.
    pub info: ModelInfo,
    /// What calibration has found out about the model.
    pub profile: Option<Arc<Profile>>,
    /// Type of cached keys and values, one of [`skimlm_kernels::cached`].
    pub dtype: DType,
    /// Positions a session may use.
    pub limit: usize,
    /// What the model brings to the memory that requests take.
    pub footprint: Footprint,
}

/// Opens a model. `progress` is told bytes done and bytes in all; an error from it ends the loading.
///
/// `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_CORRUPT` or `ERR_MODEL_UNSUPPORTED` where the file is at fault, `ERR_TOKENIZER`,
/// `ERR_CHAT_TEMPLATE`, `ERR_DEVICE`, `ERR_OUT_OF_MEMORY` before weights are read, `ERR_INVALID_ARG` for an option or a profile.
pub fn load(path: &Path, options: &LoadOptions, progress: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<Loaded> {
    let (dtype, quantize) = types(options.dtype.as_deref(), options.kv_dtype.as_deref())?;
    let activations = activations(options.activations.as_deref())?;
    // The operations themselves do not ask again whether the processor has what was asked for.
    skimlm_kernels::level()?;
    if let Some(tokens @ 0) = options.context_length {
        return Err(Error::invalid_option("contextLength", tokens, "at least 1"));
    }
    let (info, device) = device::open(options.device.as_deref(), options.no_gpus.as_deref())?;
    device::check_entries(&device, dtype, "kvDtype")?;
    let verify = options.verify;
    let open = OpenOptions { device: device.clone(), verify, quantize, activations, progress: Some(progress) };
    let source = Source::open(path)?;
    let header = skimlm_models::inspect_source(&source)?;
    let footprint = Footprint::of(&source)?;
    row_bytes(dtype, footprint.config.head_dim)?;
    memory::check_load(&footprint, quantize, &device)?;
    // What the header can refute is said before the weights are read.
    let limit = options.context_length.unwrap_or(header.max_positions);
    if limit > header.max_positions {
        let expected = format!("at most {}, the positions the model was trained for", header.max_positions);
        return Err(Error::invalid_option("contextLength", limit, expected));
    }
    let profile = profile(path, options.profile.as_deref(), &header)?;
    let tokenizer = tokenizer(&source, options.tokenizer.as_deref())?;
    tokenizer.check_rows(footprint.config.vocab)?;
    let text = |id: Option<u32>| id.map(|id| tokenizer.token_text(id)).unwrap_or_default();
    let template = (options.chat_template.as_deref().or(header.chat_template.as_deref()))
        .map(|source| ChatTemplate::new(source, &text(tokenizer.bos()), &text(tokenizer.end_tokens().first().copied())))
        .transpose()?;
    let opened = skimlm_models::open_source(source, open)?;
    // What has been copied is there before another thread computes with it.
    device.synchronize()?;
    Ok(Loaded {
        profile,
        device: info,
        tokenizer: Arc::new(tokenizer),
        template: template.map(Arc::new),
        info: ModelInfo::new(header, &opened.source),
        model: Box::new(opened.model),
        dtype,
        limit,
        footprint,
    })
}

pub(crate) fn profile(
    model: &Path,
    given: Option<&Path>,
    info: &skimlm_models::ModelInfo,
) -> Result<Option<Arc<Profile>>> {
    let beside = profile_beside(model);
    let layer = info.default_filter_layer;
    match given.or(Some(beside.as_path()).filter(|path| path.is_file())) {
        Some(path) => Profile::read(path, &info.shape, layer).map(|profile| Some(Arc::new(profile))),
        None => Profile::built_in(&info.shape, layer, &info.fingerprint),
    }
}

/// Where a model's own profile is looked for: `model.gguf.skimlm.json` beside `model.gguf`.
pub fn profile_beside(model: &Path) -> PathBuf {
    let mut name = model.as_os_str().to_owned();
    name.push(".skimlm.json");
    name.into()
}

fn tokenizer(source: &Source, json: Option<&Path>) -> Result<Tokenizer> {
    match source {
        Source::Gguf(gguf) => {
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
        Source::Folder(folder) => {
            let words = folder.words()?;
            let json = json.map(Path::to_owned).or(words.tokenizer).ok_or_else(|| text::no_json(folder.path()))?;
            Tokenizer::from_json_file(&json, Declared { bos: words.bos, ends: words.ends, add_bos: words.add_bos })
        }
    }
}

/// The types of the cache and, if they are to change, of the weights.
///
/// f16 halves the cache against f32 and moves the logits of the default model by less than 0.02.
pub(crate) fn types(dtype: Option<&str>, kv_dtype: Option<&str>) -> Result<(DType, Option<Quantization>)> {
    let (cache, quantize) = match dtype {
        None | Some("auto" | "f16") => (DType::F16, None),
        Some("f32") => (DType::F32, None),
        Some("bf16") => (DType::BF16, None),
        Some("q8_0") => (DType::F16, Some(Quantization::Q8_0)),
        Some("q4_k") => (DType::F16, Some(Quantization::Q4K)),
        Some(other) => return Err(Error::invalid_option("dtype", other, "auto, f32, f16, bf16, q8_0 or q4_k")),
    };
    let cache = match kv_dtype {
        None | Some("auto") => cache,
        Some("f32") => DType::F32,
        Some("f16") => DType::F16,
        Some("bf16") => DType::BF16,
        Some("q8_0") => Q8_0,
        Some(other) => return Err(Error::invalid_option("kvDtype", other, "auto, f32, f16, bf16 or q8_0")),
    };
    Ok((cache, quantize))
}

fn activations(name: Option<&str>) -> Result<Activations> {
    match name {
        None | Some("auto") => Ok(Activations::Bits16),
        Some("int8") => Ok(Activations::Bits8),
        Some(other) => Err(Error::invalid_option("activations", other, "auto or int8")),
    }
}

/// Bytes of a cached row of `head_dim` numbers. `ERR_INVALID_ARG` if the type has none of that size.
pub(crate) fn row_bytes(dtype: DType, head_dim: usize) -> Result<usize> {
    let width = cached::width(dtype, head_dim).map_err(|_| {
        let expected =
            format!("auto, f32, f16 or bf16: the model's heads have {head_dim} numbers, a block {}", cached::BLOCK);
        Error::invalid_option("kvDtype", "q8_0", expected)
    })?;
    Ok(width * dtype.size_in_bytes())
}

/// The threads to compute with.
pub(crate) fn start_threads(threads: Option<usize>) -> Result<Threads> {
    if let Some(threads @ (0 | 1025..)) = threads {
        return Err(Error::invalid_option("threads", threads, "1 to 1024"));
    }
    let count = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    Threads::new(count)
        .map_err(|e| Error::new(Code::Internal, "the threads to compute with did not start.").caused_by(e))
}

#[cfg(test)]
mod tests;
