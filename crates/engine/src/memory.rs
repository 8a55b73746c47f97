//! What a request takes in memory, before it is run.

mod estimate;

use std::path::Path;

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skimlm_core::{Code, Error, Reading, Result, read_options, whole};
use skimlm_models::{Footprint, Quantization, Source};
use skimlm_policies::{Context, PolicySpec};

use crate::device::{free, free_of_system};
use crate::load::{profile, row_bytes, types};
use crate::request::{DEFAULT_NEW_TOKENS, new_tokens};

pub use estimate::Estimate;
pub(crate) use estimate::Need;

/// A request, as far as memory goes.
#[derive(Debug, Clone)]
pub struct MemoryNeed {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens to generate at most.
    pub max_new_tokens: usize,
    /// How the prompt is read.
    pub policy: PolicySpec,
    /// As in [`crate::LoadOptions`].
    pub dtype: Option<String>,
    /// As in [`crate::LoadOptions`].
    pub kv_dtype: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    prompt_tokens: Value,
    max_new_tokens: Option<Value>,
    policy: Option<Value>,
    dtype: Option<String>,
    kv_dtype: Option<String>,
}

/// Bytes that a request takes at its peak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryEstimate {
    /// Its parts.
    #[serde(flatten)]
    pub parts: Estimate,
    /// All of them.
    pub total: u64,
    /// Main memory that is free now; 0 where the system does not tell. What a GPU has free, [`crate::devices`] tells.
    pub free_on_device: u64,
    /// Whether it fits into them, or nothing is told of them.
    pub fits: bool,
}

impl MemoryNeed {
    /// Reads a need; everything that can be checked without a model is checked here
    /// (`ERR_INVALID_ARG`).
    pub fn parse(value: &Value) -> Result<Self> {
        let form: Form = read_options(value, "")?;
        types(form.dtype.as_deref(), form.kv_dtype.as_deref())?;
        let refused = || Error::invalid_option("promptTokens", form.prompt_tokens.clone(), "a whole number");
        let prompt_tokens = form.prompt_tokens.as_f64().and_then(|number| whole(number, 0)).ok_or_else(refused)?;
        Ok(Self {
            prompt_tokens,
            max_new_tokens: form.max_new_tokens.map_or(Ok(DEFAULT_NEW_TOKENS), |v| new_tokens(&v))?,
            policy: form.policy.as_ref().map(PolicySpec::parse).transpose()?.unwrap_or_default(),
            dtype: form.dtype,
            kv_dtype: form.kv_dtype,
        })
    }
}

/// What requests take on a model, by its header; no weights are read.
///
/// Errors as in [`Source::open`] and [`Source::weights`]; `ERR_INVALID_ARG` and `ERR_POLICY_UNSUPPORTED` for a need that the
/// model cannot meet, or a profile beside it of another model.
pub fn estimate_memory(path: &Path, needs: &[MemoryNeed]) -> Result<Vec<MemoryEstimate>> {
    let source = Source::open(path)?;
    let footprint = Footprint::of(&source)?;
    let info = skimlm_models::inspect_source(&source)?;
    let profile = profile(path, None, &info)?;
    let context = Context { profile: profile.as_ref(), ..Context::new(&info.shape, info.default_filter_layer) };
    let free = free_of_system();
    needs
        .iter()
        .map(|need| {
            let (dtype, quantize) = types(need.dtype.as_deref(), need.kv_dtype.as_deref())?;
            need.policy.check(&context)?;
            let need = Need {
                prompt_tokens: need.prompt_tokens,
                new_tokens: need.max_new_tokens,
                reading: need.policy.reading(&context, need.prompt_tokens)?,
                cache_row: row_bytes(dtype, info.shape.head_dim)?,
                quantize,
            };
            let parts = Estimate::of(&footprint, &need);
            let total = parts.total();
            let fits = free.is_none_or(|free| total <= free);
            Ok(MemoryEstimate { parts, total, free_on_device: free.unwrap_or_default(), fits })
        })
        .collect()
}

/// `ERR_OUT_OF_MEMORY` unless a request's caches and activations fit beside a loaded model.
pub(crate) fn check_request(footprint: &Footprint, need: &Need, device: &Device) -> Result<()> {
    let Estimate { kv_cache, activations, .. } = Estimate::of(footprint, need);
    let suggestion = "a policy that keeps fewer tokens, or a shorter prompt";
    check(kv_cache.saturating_add(activations), device, "this request", suggestion)
}

/// `ERR_OUT_OF_MEMORY` unless a model's weights fit.
pub(crate) fn check_load(footprint: &Footprint, quantize: Option<Quantization>, device: &Device) -> Result<()> {
    let need = Need { prompt_tokens: 0, new_tokens: 0, reading: Reading::Whole, cache_row: 0, quantize };
    let Estimate { weights, program, .. } = Estimate::of(footprint, &need);
    let suggestion = "a smaller model, or the option `dtype`: \"q4_k\"";
    check(weights.saturating_add(program), device, "this model", suggestion)
}

fn check(needed: u64, device: &Device, what: &str, suggestion: &str) -> Result<()> {
    refuse_beyond(free(device), needed, what, suggestion)
}

fn refuse_beyond(free: Option<u64>, needed: u64, what: &str, suggestion: &str) -> Result<()> {
    // Where the system does not tell, nothing can be said.
    let Some(free) = free.filter(|&free| needed > free) else {
        return Ok(());
    };
    Err(Error::new(
        Code::OutOfMemory,
        format!("{what} needs about {needed} bytes of memory, and {free} are free. Use {suggestion}."),
    )
    .with("needed", needed)
    .with("free", free)
    .with("suggestion", suggestion))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skimlm_models::weights::gguf::write::{Tiny, write_tiny};

    use super::*;

    #[test]
    fn a_need_has_defaults_and_a_whole_number_of_tokens() {
        let need = |tokens: Value| MemoryNeed::parse(&json!({ "promptTokens": tokens }));
        let plain = need(json!(0)).unwrap();
        assert_eq!((plain.prompt_tokens, plain.max_new_tokens), (0, DEFAULT_NEW_TOKENS));
        let most = u64::from(u32::MAX);
        assert_eq!(need(json!(most)).unwrap().prompt_tokens as u64, most);
        for bad in [json!(most + 1), json!(-1), json!(1.5), json!("1")] {
            assert_eq!(need(bad.clone()).unwrap_err().details["option"], "promptTokens", "{bad}");
        }
    }

    #[test]
    fn a_request_is_refused_by_what_it_will_take() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tiny.gguf");
        write_tiny(&file, &Tiny::default()).unwrap();
        let footprint = Footprint::of(&Source::open(&file).unwrap()).unwrap();
        let check = |prompt_tokens| {
            let need = Need { prompt_tokens, new_tokens: 1, reading: Reading::Whole, cache_row: 16, quantize: None };
            check_request(&footprint, &need, &Device::Cpu).map_err(|error| error.code)
        };
        assert_eq!((check(100), check(1 << 40)), (Ok(()), Err(Code::OutOfMemory)));
    }

    #[test]
    fn what_is_more_than_is_free_is_refused() {
        let check = |needed| check(needed, &Device::Cpu, "this", "less");
        assert!(check(1).is_ok());
        let error = check(u64::MAX).unwrap_err();
        assert_eq!((error.code, &error.details["needed"]), (Code::OutOfMemory, &u64::MAX.into()));
        assert!(error.message.contains("Use less."), "{error}");
    }

    #[test]
    fn where_nothing_is_free_nothing_fits() {
        let of = |free, needed| refuse_beyond(free, needed, "this", "less").is_ok();
        assert_eq!((of(Some(0), 1), of(Some(1), 1), of(None, u64::MAX)), (false, true, true));
    }
}
