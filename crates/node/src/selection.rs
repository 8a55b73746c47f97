//! What a policy kept of a prompt.

use napi::bindgen_prelude::{Float32Array, Int32Array, Uint8Array, Uint32Array};
use napi_derive::napi;
use skimlm_engine::SelectionData;
use skimlm_engine::text::Source;

use crate::error::guarded;
use crate::json;

/// What the heads of one layer keep.
#[napi(object, object_from_js = false)]
pub struct LayerHeads {
    /// The layer.
    pub layer: u32,
    /// Prompt indices, ascending: one list a head, or one for all heads.
    pub heads: Vec<Uint32Array>,
}

/// Parallel lists, one element a kept token.
#[napi(object, object_from_js = false)]
pub struct Selection {
    /// The policy as JSON.
    pub policy: String,
    /// The policy that served, as JSON, where the one asked for chose it.
    pub served: Option<String>,
    /// The layer that decided.
    pub layer: u32,
    /// Tokens asked for.
    pub budget: f64,
    /// Where layer and budget come from.
    pub reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: f64,
    /// Index in the prompt, ascending.
    pub indices: Uint32Array,
    /// Score.
    pub scores: Float32Array,
    /// The score of every prompt token.
    pub all_scores: Option<Float32Array>,
    /// Where layers or heads keep different tokens: which.
    pub heads: Option<Vec<LayerHeads>>,
    /// Token id.
    pub ids: Uint32Array,
    /// The token as text.
    pub texts: Vec<String>,
    /// 0 document, 1 question, 2 template.
    pub sources: Uint8Array,
    /// Which chat message; -1: none.
    pub messages: Int32Array,
    /// First UTF-16 code unit in the caller's text.
    pub starts: Uint32Array,
    /// The one after the last.
    pub ends: Uint32Array,
}

impl From<skimlm_core::LayerHeads> for LayerHeads {
    fn from(of: skimlm_core::LayerHeads) -> Self {
        Self { layer: of.layer as u32, heads: of.heads.into_iter().map(Into::into).collect() }
    }
}

impl Selection {
    pub(crate) fn from_engine(data: SelectionData) -> napi::Result<Self> {
        let source = |source| match source {
            Source::Document => 0,
            Source::Question => 1,
            Source::Template => 2,
        };
        let message = |message: Option<u32>| message.and_then(|m| i32::try_from(m).ok()).unwrap_or(-1);
        Ok(Self {
            policy: guarded(|| json::write(&data.policy))?,
            served: data.served.map(|served| guarded(|| json::write(&served))).transpose()?,
            layer: data.layer as u32,
            budget: data.budget as f64,
            reason: data.reason,
            prompt_tokens: data.prompt_tokens as f64,
            indices: data.indices.into(),
            scores: data.scores.into(),
            all_scores: data.all_scores.map(Into::into),
            heads: data.heads.map(|layers| layers.into_iter().map(LayerHeads::from).collect()),
            ids: data.ids.into(),
            texts: data.texts,
            sources: data.sources.into_iter().map(source).collect::<Vec<u8>>().into(),
            messages: data.messages.into_iter().map(message).collect::<Vec<i32>>().into(),
            starts: data.starts.into(),
            ends: data.ends.into(),
        })
    }
}
