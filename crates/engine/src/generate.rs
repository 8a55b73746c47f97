//! From a request to text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use skimlm_core::{Code, Error, Report, Result, Warning};

use crate::ahead::Stepper;
use crate::control::{Cancel, Control, DEFAULT_CHUNK, Progress};
use crate::load::{Loaded, row_bytes};
use crate::memory::{self, Need};
use crate::output::{Event, FinishReason, Memory, Outcome, SelectionData, Timings, Usage};
use crate::overflow;
use crate::request::Request;
use crate::sample::{Next, Sampler};
use crate::session::{Session, Spent};
use crate::text::{Assembled, DecodeStream, Prompt, StopMatcher, assemble};

use stream::Stream;

/// Length of [`Outcome::first_token_top`].
const TOP: usize = 10;

/// Runs one request and hands every event but the last to `emit`; the outcome is the answer.
///
/// `queued` is the time the request has waited. A stopped [`Cancel`] ends it with the text so far, an
/// aborted one with [`Code::Cancelled`].
///
/// `ERR_EMPTY_PROMPT`, `ERR_CHAT_TEMPLATE`, `ERR_CONTEXT_OVERFLOW` and `ERR_OUT_OF_MEMORY` before anything is read,
/// `ERR_INVALID_ARG` and `ERR_POLICY_UNSUPPORTED` for what only the prompt shows, `ERR_NUMERICS`.
pub fn generate(
    loaded: &Loaded,
    request: &Request,
    cancel: &Cancel,
    queued: Duration,
    emit: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let ahead = loaded.model.device().is_cuda();
    generate_with(loaded, request, cancel, queued, ahead, emit)
}

/// `ahead`: whether tokens may be decoded ahead of the host, which only a GPU gains from.
fn generate_with(
    loaded: &Loaded,
    request: &Request,
    cancel: &Cancel,
    queued: Duration,
    ahead: bool,
    emit: &mut dyn FnMut(Event),
) -> Result<Outcome> {
    let started = Instant::now();
    let mut prompt = assemble(&request.prompt, &request.pins.text, &loaded.tokenizer, loaded.template.as_deref())?;
    let asked = if request.select_only { 0 } else { request.max_new_tokens };
    let truncated = overflow::fit(&mut prompt, request.overflow, asked, loaded.limit)?;
    let tokenizing = started.elapsed();

    let (policy, forced) = (&request.policy, request.force_indices.as_deref());
    let (reading, policy) = loaded.with_context(policy, forced, |context| {
        Ok((policy.reading_of(context, &prompt.rows)?, policy.build(context)?))
    })?;
    memory::check_request(
        &loaded.footprint,
        &Need {
            prompt_tokens: prompt.rows.len(),
            // The rest of the answer may never come; it is not a reason to refuse.
            new_tokens: 0,
            reading,
            cache_row: row_bytes(loaded.dtype, loaded.model.shape().head_dim)?,
            quantize: None,
        },
        loaded.model.device(),
    )?;
    let mut session = Session::new(&*loaded.model, policy, loaded.dtype)?;
    let mut run = Run {
        loaded,
        request,
        cancel,
        text: String::new(),
        new_tokens: 0,
        sampler: Sampler::new(request.sampling)?,
        warnings: prompt.warnings.clone(),
        finish: None,
        stop_string: None,
        first_token: None,
    };
    if truncated > 0 {
        let message = format!("{truncated} tokens of the document were left out to fit {} positions.", loaded.limit);
        run.warnings.push(Warning { code: "W_TRUNCATED", message });
    }
    let mut first_token_top = Vec::new();
    // Nothing, unless the prompt is read to its end.
    let mut kept_tokens = 0;
    let kept = |session: &Session<'_>| session.report().map_or(prompt.rows.len(), |report| report.indices.len());
    match run.read(&mut session, &prompt, emit) {
        Ok(Some(logits)) => {
            first_token_top = most_likely(&logits);
            let logits = Tensor::from_slice(&logits, logits.len(), &Device::Cpu)?;
            run.decode(&mut session, logits, &prompt, ahead, emit).or_else(|e| run.stopped(e))?;
            kept_tokens = kept(&session);
        }
        Ok(None) => kept_tokens = kept(&session),
        Err(error) => run.stopped(error)?,
    }
    let usage = Usage {
        prompt_tokens: prompt.rows.len(),
        kept_tokens,
        cached_tokens: 0,
        new_tokens: run.new_tokens,
        truncated_tokens: truncated,
    };
    let first = run.first_token.map_or_else(|| started.elapsed(), |at| at.duration_since(started));
    let decode = run.first_token.map_or(Duration::ZERO, |at| at.elapsed());
    Ok(Outcome {
        finish_reason: run.finish.unwrap_or(FinishReason::Length),
        stop_string: run.stop_string,
        seed: run.sampler.seed(),
        text: run.text,
        first_token_top,
        usage,
        timings: times(queued, tokenizing, session.timings(), first, decode, run.new_tokens),
        memory: Memory {
            peak_bytes: crate::device::peak_bytes(loaded.model.device()),
            kv_bytes: session.cache().bytes(),
            layer_entries: session.cache().lengths(),
        },
        warnings: run.warnings,
    })
}

struct Run<'r> {
    loaded: &'r Loaded,
    request: &'r Request,
    cancel: &'r Cancel,
    text: String,
    new_tokens: usize,
    sampler: Sampler,
    warnings: Vec<Warning>,
    finish: Option<FinishReason>,
    stop_string: Option<String>,
    first_token: Option<Instant>,
}

impl Run<'_> {
    /// The prompt passes. No logits: a selection was all that was asked for.
    fn read(
        &mut self,
        session: &mut Session<'_>,
        prompt: &Assembled,
        emit: &mut dyn FnMut(Event),
    ) -> Result<Option<Vec<f32>>> {
        let mut progress = |progress: Progress| emit(Event::Prefill { progress, cached: 0 });
        let headroom = if self.request.select_only { 0 } else { self.most_tokens() };
        let mut control = Control { cancel: self.cancel, progress: &mut progress, chunk: DEFAULT_CHUNK, headroom };
        let (logits, report) = if self.request.select_only {
            (None, session.select(prompt.rows.clone(), &mut control)?)
        } else {
            let logits = session.prefill(prompt.rows.clone(), &mut control)?;
            (Some(logits), session.report())
        };
        if let Some(report) = report {
            self.warnings.extend(report.warnings.iter().cloned());
            emit(Event::Selection(Box::new(self.selection(report, prompt))));
        }
        Ok(logits)
    }

    fn selection(&self, report: Report, prompt: &Assembled) -> SelectionData {
        let Self { request, loaded, .. } = self;
        SelectionData::new(report, &request.policy, prompt, &loaded.tokenizer, request.all_scores)
    }

    /// Samples until something ends it.
    fn decode(
        &mut self,
        session: &mut Session<'_>,
        logits: Tensor,
        prompt: &Assembled,
        ahead: bool,
        emit: &mut dyn FnMut(Event),
    ) -> Result<()> {
        let decoder = DecodeStream::new(Arc::clone(&self.loaded.tokenizer), true);
        let decoder = match self.request.prompt {
            Prompt::Text(_) | Prompt::Tokens(_) => decoder.going_on(),
            Prompt::Messages(_) | Prompt::Document { .. } => decoder,
        };
        let mut stream = Stream::new(decoder, StopMatcher::new(&self.request.stop)?);
        let wanted = self.wanted_tokens(session.next_position() as usize);
        self.sampler.follow(&prompt.rows.tokens);
        let mut stepper = Stepper::new(session, ahead);
        let mut next = Next::Logits(logits);
        let result = loop {
            if let Err(error) = self.cancel.check() {
                break Err(error);
            }
            let (id, logprob) = match self.sampler.choose(next) {
                Ok(chosen) => chosen,
                Err(error) => break Err(located(error, session)),
            };
            self.first_token.get_or_insert_with(Instant::now);
            self.new_tokens += 1;
            if self.loaded.tokenizer.end_tokens().contains(&id) {
                self.finish = Some(FinishReason::Stop);
                break Ok(());
            }
            if let Some(index) = stream.push(id, logprob, &mut self.text, emit) {
                self.finish = Some(FinishReason::StopString);
                self.stop_string = stream.matcher.stop(index).map(str::to_owned);
                break Ok(());
            }
            if self.new_tokens >= wanted {
                self.finish = Some(FinishReason::Length);
                break Ok(());
            }
            self.sampler.follow(&[id]);
            // With what is still to come, every step has the length that the prompt's pass had:
            // rotations that depend on it (LongRoPE) must not change within one cache.
            let headroom = self.most_tokens().saturating_sub(self.new_tokens);
            let mut control = Control { cancel: self.cancel, progress: &mut |_| {}, chunk: DEFAULT_CHUNK, headroom };
            let left = wanted - self.new_tokens;
            match stepper.step(session, left, &self.sampler, &mut control, &mut self.warnings) {
                Ok(step) => next = step,
                Err(error) => break Err(error),
            }
        };
        // Held text belongs to the answer however it ended; only a stop string takes it away.
        if self.finish != Some(FinishReason::StopString) {
            stream.finish(&mut self.text, emit);
        }
        result
    }

    /// Tokens that room is made for: no answer is longer than the model's positions, whatever was asked for.
    fn most_tokens(&self) -> usize {
        self.request.max_new_tokens.min(self.loaded.limit)
    }

    /// How many tokens fit behind a prompt that ends before `position`.
    fn wanted_tokens(&mut self, position: usize) -> usize {
        // The last token is never fed back, so it needs no position of its own.
        let room = (self.loaded.limit + 1).saturating_sub(position).max(1);
        let asked = self.request.max_new_tokens;
        if room < asked {
            let message = format!(
                "{asked} new tokens were asked for, {room} fit within the model's {} positions.",
                self.loaded.limit
            );
            self.warnings.push(Warning { code: "W_SHORTENED", message });
        }
        asked.min(room)
    }

    /// A caller's stop is an end like any other; everything else stays an error.
    fn stopped(&mut self, error: Error) -> Result<()> {
        if error.code == Code::Cancelled && !self.cancel.is_aborted() {
            self.finish = Some(FinishReason::Cancelled);
            return Ok(());
        }
        Err(error)
    }
}

/// With the first layer whose keys or values show what the logits suffer from.
fn located(error: Error, session: &Session<'_>) -> Error {
    match session.cache().first_broken() {
        Ok(Some(layer)) => error.in_layer(layer),
        _ => error,
    }
}

fn most_likely(logits: &[f32]) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let best_first = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
    let top = ids.len().min(TOP);
    if top < ids.len() {
        ids.select_nth_unstable_by(top, best_first);
        ids.truncate(top);
    }
    ids.sort_unstable_by(best_first);
    ids
}

fn times(
    queued: Duration,
    tokenizing: Duration,
    spent: Spent,
    first: Duration,
    decode: Duration,
    new_tokens: usize,
) -> Timings {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let later = new_tokens.saturating_sub(1) as f64;
    Timings {
        queue_ms: ms(queued),
        tokenize_ms: ms(tokenizing),
        filter_ms: ms(spent.filter),
        select_ms: ms(spent.select),
        prefill_ms: ms(spent.prefill),
        ttft_ms: ms(queued + first),
        decode_ms: ms(decode),
        tokens_per_second: if decode.is_zero() { 0.0 } else { later / decode.as_secs_f64() },
    }
}

mod stream;
#[cfg(test)]
mod tests;
