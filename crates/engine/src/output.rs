//! What a generation gives back.

use serde::Serialize;
use serde_json::Value;
use skimlm_core::{LayerHeads, Report, Warning};
use skimlm_policies::PolicySpec;

use crate::control::Progress;
use crate::text::{Assembled, Source, Tokenizer};

/// One piece of news of a generation.
#[derive(Debug, Clone)]
pub enum Event {
    /// A prompt pass has come further. May be left out when the reader is slow.
    Prefill {
        /// How far.
        progress: Progress,
        /// Prompt tokens that were in the cache already.
        cached: usize,
    },
    /// What the policy kept.
    Selection(Box<SelectionData>),
    /// The next text.
    Text(TextChunk),
    /// The end; nothing follows.
    Finish(Box<Outcome>),
}

/// Text and the tokens it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct TextChunk {
    /// Whole characters.
    pub text: String,
    /// The tokens since the last chunk.
    pub token_ids: Vec<u32>,
    /// Sum of their log-probabilities.
    pub logprob: f32,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinishReason {
    /// The model ended its answer.
    Stop,
    /// The number of new tokens was reached.
    Length,
    /// A stop string came.
    StopString,
    /// The caller stopped it.
    Cancelled,
}

/// Kept tokens: parallel lists, one element a token.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectionData {
    /// The policy as it was asked for.
    pub policy: Value,
    /// The policy that served, where the one asked for chose it.
    pub served: Option<Value>,
    /// The layer that decided.
    pub layer: usize,
    /// Tokens asked for.
    pub budget: usize,
    /// Where layer and number come from.
    pub reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Index in the prompt, ascending.
    pub indices: Vec<u32>,
    /// Score.
    pub scores: Vec<f32>,
    /// The score of every prompt token, on request.
    pub all_scores: Option<Vec<f32>>,
    /// What each head of each layer keeps, on request and where they differ.
    pub heads: Option<Vec<LayerHeads>>,
    /// Token id.
    pub ids: Vec<u32>,
    /// The token as text.
    pub texts: Vec<String>,
    /// Which of the caller's texts it comes from.
    pub sources: Vec<Source>,
    /// Which message, in a chat.
    pub messages: Vec<Option<u32>>,
    /// First UTF-16 code unit in the caller's text.
    pub starts: Vec<u32>,
    /// The code unit after the last.
    pub ends: Vec<u32>,
}

impl SelectionData {
    /// Joins a policy's report with the prompt it speaks of.
    pub(crate) fn new(
        report: Report,
        policy: &PolicySpec,
        prompt: &Assembled,
        tokenizer: &Tokenizer,
        all_scores: bool,
    ) -> Self {
        let kept = || report.indices.iter().map(|&i| i as usize);
        let origins: Vec<_> = kept().filter_map(|i| prompt.origins.get(i)).collect();
        let ids: Vec<u32> = kept().filter_map(|i| prompt.rows.tokens.get(i).copied()).collect();
        Self {
            policy: policy.to_json(),
            served: report.served,
            layer: report.layer,
            budget: report.budget,
            prompt_tokens: prompt.rows.len(),
            texts: ids.iter().map(|&id| tokenizer.token_text(id)).collect(),
            ids,
            sources: origins.iter().map(|o| o.source).collect(),
            messages: origins.iter().map(|o| o.message).collect(),
            starts: origins.iter().map(|o| o.start).collect(),
            ends: origins.iter().map(|o| o.end).collect(),
            all_scores: report.all_scores.filter(|_| all_scores),
            heads: report.heads.filter(|_| all_scores),
            reason: report.reason,
            indices: report.indices,
            scores: report.scores,
        }
    }
}

/// Tokens, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: usize,
    /// Of the prompt, what is left to look at when the answer begins: the tokens of the selection, or all; 0 where the
    /// prompt was not read to its end.
    pub kept_tokens: usize,
    /// Of the prompt, in the cache already; 0 today, as every request reads its own prompt.
    pub cached_tokens: usize,
    /// Generated.
    pub new_tokens: usize,
    /// Left out because the prompt was too long.
    pub truncated_tokens: usize,
}

/// Where the time of a request went, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// Waiting for other generations.
    pub queue_ms: f64,
    /// Text to tokens.
    pub tokenize_ms: f64,
    /// Filter passes.
    pub filter_ms: f64,
    /// Evidence and choice.
    pub select_ms: f64,
    /// The pass whose keys stay.
    pub prefill_ms: f64,
    /// From the start of the work, queueing included, to the first token.
    pub ttft_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
    /// Tokens after the first a second of decoding; 0 if there is only one.
    pub tokens_per_second: f64,
}

/// Bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The most that has been taken where the model runs: on a GPU by tensors, on the CPU by the whole process, since
    /// it began; 0 where the system does not tell.
    pub peak_bytes: u64,
    /// Keys and values at the end.
    pub kv_bytes: usize,
    /// Cache entries of each layer at the end.
    pub layer_entries: Vec<usize>,
}

/// The end of a generation.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// All text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Which stop string came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_string: Option<String>,
    /// The ten tokens most likely to come first, best first: two policies that agree here read alike.
    pub first_token_top: Vec<u32>,
    /// Tokens.
    pub usage: Usage,
    /// Times.
    pub timings: Timings,
    /// Memory.
    pub memory: Memory,
    /// The seed that was used.
    pub seed: u64,
    /// Remarks.
    pub warnings: Vec<Warning>,
}
