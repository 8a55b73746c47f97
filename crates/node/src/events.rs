//! What a generation tells.

use napi_derive::napi;
use skimlm_engine as engine;

use crate::error::guarded;
use crate::json;
use crate::selection::Selection;

/// One piece of news; exactly one field is set.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct Event {
    /// Progress of the prompt.
    pub prefill: Option<Prefill>,
    /// What was kept.
    pub selection: Option<Selection>,
    /// The next text.
    pub text: Option<Text>,
    /// The end, as JSON.
    pub finish: Option<String>,
}

/// Progress of the prompt.
#[napi(object, object_from_js = false)]
pub struct Prefill {
    /// Which pass.
    #[napi(ts_type = "'filter' | 'prefill'")]
    pub stage: &'static str,
    /// Tokens done.
    pub done: f64,
    /// Tokens in all.
    pub total: f64,
    /// Tokens that needed no work.
    pub cached: f64,
}

/// Text and its tokens.
#[napi(object, object_from_js = false)]
pub struct Text {
    /// Whole characters.
    pub text: String,
    /// A handful, so a plain array.
    pub token_ids: Vec<u32>,
    /// Natural logarithm of their probability.
    pub logprob: f64,
}

impl Event {
    pub(crate) fn from_engine(event: engine::Event) -> napi::Result<Self> {
        Ok(match event {
            engine::Event::Prefill { progress, cached } => Self {
                prefill: Some(Prefill {
                    stage: if progress.stage == skimlm_core::Stage::Filter { "filter" } else { "prefill" },
                    done: progress.done as f64,
                    total: progress.total as f64,
                    cached: cached as f64,
                }),
                ..Self::default()
            },
            engine::Event::Selection(data) => {
                Self { selection: Some(Selection::from_engine(*data)?), ..Self::default() }
            }
            engine::Event::Text(engine::TextChunk { text, token_ids, logprob }) => {
                Self { text: Some(Text { text, token_ids, logprob: logprob.into() }), ..Self::default() }
            }
            engine::Event::Finish(outcome) => {
                Self { finish: Some(guarded(|| json::write(&outcome))?), ..Self::default() }
            }
        })
    }
}
