//! A loaded model.

use std::sync::Arc;

use napi::bindgen_prelude::Uint32Array;
use napi_derive::napi;
use skimlm_core::{Code, Error};
use skimlm_engine::text::{ChatMessage, Prompt, no_template};
use skimlm_engine::{Request, Worker};

use crate::error::guarded;
use crate::json;
use crate::run::Run;

/// A model and its inference thread.
#[napi]
pub struct Model {
    pub(crate) worker: Arc<Worker>,
}

/// A request that has been found sound.
#[napi]
pub struct Prepared {
    worker: Arc<Worker>,
    /// Gone once it has been started: JavaScript frees what is left of this when it pleases.
    request: Option<Request>,
}

#[napi]
impl Prepared {
    /// Queues the request, once.
    #[napi]
    pub fn start(&mut self) -> napi::Result<Run> {
        let started = || Error::new(Code::Internal, "this request has been started.");
        guarded(|| Ok(Run::new(self.worker.start(self.request.take().ok_or_else(started)?)?)))
    }
}

/// Token ids and their `[start, end)` ranges in UTF-16 code units, flat.
#[napi(object)]
pub struct Encoded {
    /// Token ids.
    pub ids: Uint32Array,
    /// Pairs.
    pub offsets: Uint32Array,
}

#[napi]
impl Model {
    /// The header as JSON.
    #[napi]
    pub fn info(&self) -> napi::Result<String> {
        guarded(|| json::write(self.worker.info()))
    }

    /// Where it runs, as JSON.
    #[napi]
    pub fn device(&self) -> napi::Result<String> {
        guarded(|| json::write(self.worker.device()))
    }

    /// Checks a request. `tokens` are the prompt's if that is bare tokens, `forced` the selection to replay.
    #[napi]
    pub fn prepare(&self, request: String, tokens: Option<&[u32]>, forced: Option<&[u32]>) -> napi::Result<Prepared> {
        guarded(|| {
            let mut request = Request::parse(&json::parse(&request)?)?;
            if let Some(tokens) = tokens {
                request.prompt = Prompt::Tokens(tokens.to_vec());
            }
            request.force_indices = forced.map(<[u32]>::to_vec);
            self.worker.check(&request)?;
            Ok(Prepared { worker: Arc::clone(&self.worker), request: Some(request) })
        })
    }

    /// Ends all requests; resolves when the memory is free.
    #[napi]
    pub async fn dispose(&self) {
        // The channel carries nothing: it closes.
        let _ = self.worker.dispose().recv().await;
    }

    /// Text to token ids.
    #[napi]
    pub fn encode(&self, text: String, special: bool) -> napi::Result<Uint32Array> {
        guarded(|| Ok(self.worker.tokenizer().encode(&text, special)?.into()))
    }

    /// Token ids to text.
    #[napi]
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> napi::Result<String> {
        guarded(|| self.worker.tokenizer().decode(ids, skip_special))
    }

    /// Text to token ids, with where each comes from.
    #[napi]
    pub fn encode_with_offsets(&self, text: String) -> napi::Result<Encoded> {
        guarded(|| {
            let (ids, ranges) = self.worker.tokenizer().encode_with_offsets(&text)?;
            let offsets: Vec<u32> = ranges.into_iter().flat_map(|(start, end)| [start, end]).collect();
            Ok(Encoded { ids: ids.into(), offsets: offsets.into() })
        })
    }

    /// A chat, as JSON, in the words of the model's template.
    #[napi]
    pub fn apply_chat_template(&self, messages: String, add_generation_prompt: bool) -> napi::Result<String> {
        guarded(|| {
            let messages: Vec<ChatMessage> = json::read(&messages, "messages")?;
            self.worker.template().ok_or_else(no_template)?.render(&messages, add_generation_prompt)
        })
    }
}
