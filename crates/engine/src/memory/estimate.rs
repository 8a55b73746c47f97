//! What a request takes in memory, as arithmetic on a model's sizes and the way the walk goes.
//!
//! Per layer and cached token: keys and values of `kv_heads * head_dim` numbers, and 8 bytes for its
//! position and label. The walk goes layer by layer: it holds one residual row of f32 a token, the
//! cosines and sines of each kind of rotation, and the activations of one chunk of rows. What weights
//! take is the model's to say. Program and tokenizer are a measured constant and so many bytes a token
//! of the vocabulary.

use serde::Serialize;
use skimlm_core::Reading;
use skimlm_models::{Activation, Config, Footprint, Quantization};

use crate::control::DEFAULT_CHUNK;

const CHUNK: u64 = DEFAULT_CHUNK as u64;
/// Position and label of a cache entry.
const ENTRY: u64 = 8;
/// The program with a model of no size, and its tokenizer for each token of the vocabulary, resident
/// on Linux: measured with vocabularies of 271 and 49152 tokens.
const PROGRAM: u64 = 14_000_000;
const PER_TOKEN: u64 = 300;

/// A request, as far as memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: usize,
    /// Tokens to generate.
    pub(crate) new_tokens: usize,
    /// How the prompt is read.
    pub(crate) reading: Reading,
    /// Bytes of the keys, or of the values, that a cache holds of a token for a kv head.
    pub(crate) cache_row: usize,
    /// Whether float weights are brought to a smaller format.
    pub(crate) quantize: Option<Quantization>,
}

/// Bytes at the highest point of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// The weights.
    pub weights: u64,
    /// Keys and values.
    pub kv_cache: u64,
    /// Residual stream, angles, scores and one chunk's activations.
    pub activations: u64,
    /// The program and the tokenizer.
    pub program: u64,
}

impl Estimate {
    /// What a request takes on a model.
    pub(crate) fn of(footprint: &Footprint, need: &Need) -> Self {
        let config = &footprint.config;
        // A short prompt read whole is all there is to a prompt that was cut before it was read.
        let need = &match need.reading {
            Reading::Short { kept } => {
                Need { prompt_tokens: need.prompt_tokens.min(kept), reading: Reading::Whole, ..*need }
            }
            _ => *need,
        };
        Self {
            weights: footprint.weights(need.quantize),
            kv_cache: kv_cache(config, need),
            activations: activations(config, need),
            program: PROGRAM.saturating_add(product(&[config.vocab as u64, PER_TOKEN])),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let Self { weights, kv_cache, activations, program } = *self;
        [weights, kv_cache, activations, program].into_iter().fold(0, u64::saturating_add)
    }
}

fn kv_cache(config: &Config, need: &Need) -> u64 {
    let (layers, prompt, new) = (config.layers.len() as u64, need.prompt_tokens as u64, need.new_tokens as u64);
    let entry = |heads: usize, banks: usize| {
        product(&[2, heads as u64, need.cache_row as u64]).saturating_add(banks as u64 * ENTRY)
    };
    let shared = entry(config.kv_heads, 1);
    let kept = |kept: usize| (kept as u64).min(prompt).saturating_add(new);
    let whole = |layers: u64| product(&[layers, prompt.saturating_add(new), shared]);
    match need.reading {
        Reading::Whole | Reading::Short { .. } => whole(layers),
        // One layer's keys and values of the whole prompt, freed before the second pass.
        Reading::Restart { kept: k } => product(&[prompt, shared]).max(product(&[layers, kept(k), shared])),
        Reading::Narrow { layer, kept: k } => {
            let below = (layer as u64).saturating_add(1).min(layers);
            whole(below).saturating_add(product(&[layers - below, kept(k), shared]))
        }
        Reading::Evict { kept: k, per_query_head } => {
            let each = if per_query_head { entry(config.heads, config.heads) } else { shared };
            product(&[layers, kept(k), each]).saturating_add(product(&[prompt, shared]))
        }
    }
}

fn activations(config: &Config, need: &Need) -> u64 {
    let prompt = (need.prompt_tokens as u64).max(1);
    let (hidden, mlp) = (config.hidden as u64, config.mlp as u64);
    let (queries, keys) = (config.query_width() as u64, config.key_width() as u64);
    let angles: u64 = config.rotaries.iter().map(|rotary| rotary.dims as u64).sum();
    let scores = match need.reading {
        Reading::Whole | Reading::Short { .. } => 0,
        Reading::Restart { .. } | Reading::Narrow { .. } => 2,
        Reading::Evict { .. } => config.heads as u64,
    };
    // The norm; q, k, v and what was attended.
    let attention = hidden + 2 * (queries + keys);
    // The sum and its norm; what is gated and, as if it existed whole, what gates it (two more where a library
    // multiplies them); the product's 16-bit integers.
    let wide = if config.activation == Activation::Silu { 2 * mlp } else { 4 * mlp };
    let row = attention.max(2 * hidden + wide + mlp / 2);
    let floats = product(&[prompt, hidden + angles + scores]).saturating_add(product(&[prompt.min(CHUNK), row]));
    product(&[4, floats.saturating_add(config.vocab as u64)])
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |all, &factor| all.saturating_mul(factor))
}

#[cfg(test)]
mod tests;
