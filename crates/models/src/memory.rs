//! What a request takes in memory, as arithmetic on a model's sizes.
//!
//! Per layer and cached token: keys and values of `kv_heads * head_dim` numbers, and 8 bytes for its
//! position and label. The engine walks layer by layer: it holds one residual row of f32 a token, the
//! cosines and sines of each kind of rotation, and the activations of one chunk of rows. Weights count
//! whole, though a mapped file's pages can be given back. Program and tokenizer are a measured constant
//! and so many bytes a token of the vocabulary.

use serde::Serialize;
use skimlm_core::{Reading, Result};

use crate::config::{Activation, Config};
use crate::info;
use crate::source::Source;
use crate::weights::quantized::Quantization;

/// Rows that are computed at once unless a caller says otherwise: enough for what packing weights and entries costs to be
/// shared by many (8000 tokens take 0.94 of the time they take by 512), few enough for activations to stay small.
pub const DEFAULT_CHUNK: usize = 1024;
const CHUNK: u64 = DEFAULT_CHUNK as u64;
/// Position and label of a cache entry.
const ENTRY: u64 = 8;
/// The program with a model of no size, and its tokenizer for each token of the vocabulary, resident
/// on Linux: measured with vocabularies of 271 and 49152 tokens.
const PROGRAM: u64 = 14_000_000;
const PER_TOKEN: u64 = 300;

/// A request, as far as memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens to generate.
    pub new_tokens: usize,
    /// How the prompt is read.
    pub reading: Reading,
    /// Bytes of the keys, or of the values, that a cache holds of a token for a kv head.
    pub cache_row: usize,
    /// Whether float weights are brought to a smaller format.
    pub quantize: Option<Quantization>,
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
    /// All of it.
    pub fn total(&self) -> u64 {
        let Self { weights, kv_cache, activations, program } = *self;
        [weights, kv_cache, activations, program].into_iter().fold(0, u64::saturating_add)
    }
}

/// What the memory of any request on a model follows from.
#[derive(Debug, Clone)]
pub struct Footprint {
    config: Config,
    /// Bytes of the weights in their files.
    stored: u64,
    /// Whether most weights are plain floats, which alone are brought to a smaller format.
    floats: bool,
}

impl Footprint {
    /// Of a model whose headers have been read. Errors as in [`Source::weights`].
    pub fn of(source: &Source) -> Result<Self> {
        let tensors = source.listed();
        Ok(Self {
            config: source.weights()?.config().clone(),
            stored: tensors.iter().map(|tensor| tensor.bytes.len() as u64).sum(),
            floats: info::of_floats(&tensors),
        })
    }

    /// The model's sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What a request takes.
    pub fn estimate(&self, need: &Need) -> Estimate {
        let Self { config, stored, floats } = self;
        // A short prompt read whole is all there is to a prompt that was cut before it was read.
        let need = &match need.reading {
            Reading::Short { kept } => {
                Need { prompt_tokens: need.prompt_tokens.min(kept), reading: Reading::Whole, ..*need }
            }
            _ => *need,
        };
        let weights = match need.quantize.filter(|_| *floats) {
            Some(to) => to.bytes(config),
            None => *stored,
        };
        let program = PROGRAM.saturating_add(product(&[config.vocab as u64, PER_TOKEN]));
        Estimate { weights, kv_cache: kv_cache(config, need), activations: activations(config, need), program }
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
    // The sum and its norm; what is gated and, as if it existed whole, what gates it (two more where a library multiplies
    // them); the product's 16-bit integers.
    let wide = if config.activation == Activation::Silu { 2 * mlp } else { 4 * mlp };
    let row = attention.max(2 * hidden + wide + mlp / 2);
    let floats = product(&[prompt, hidden + angles + scores]).saturating_add(product(&[prompt.min(CHUNK), row]));
    product(&[4, floats.saturating_add(config.vocab as u64)])
}

fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |all, &factor| all.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use skimlm_core::LayerShape;

    use super::*;
    use crate::rope::{Pairing, RotaryConfig};
    use crate::weights::Weights;
    use crate::weights::random::{Random, Sizes};

    /// The sizes of Llama 3.1 8B: 17.2 GB of keys and values for 131072 tokens, 0.54 GB for one layer's.
    fn llama() -> Config {
        let sizes = Sizes { layers: 1, ..Sizes::default() };
        Config {
            hidden: 4096,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            mlp: 14336,
            vocab: 128_256,
            layers: vec![LayerShape::default(); 32],
            ..Random::new(&sizes).unwrap().config().clone()
        }
    }

    fn need(reading: Reading) -> Need {
        Need { prompt_tokens: 131_072, new_tokens: 0, reading, cache_row: 2 * 128, quantize: None }
    }

    fn gigabytes(bytes: u64) -> f64 {
        (bytes as f64 / 1e8).round() / 10.0
    }

    #[test]
    fn caches_have_the_published_sizes() {
        let cache = |reading| kv_cache(&llama(), &need(reading));
        let whole = cache(Reading::Whole);
        assert_eq!(whole - 32 * 131_072 * ENTRY, 17_179_869_184);
        assert_eq!(cache(Reading::Restart { kept: 1024 }), whole / 32);
        assert_eq!(cache(Reading::Narrow { layer: 13, kept: 1024 }), whole / 32 * 14 + whole / 32 / 128 * 18);
        let evicted = cache(Reading::Evict { kept: 1024, per_query_head: false });
        assert_eq!(evicted - whole / 32, whole / 128);
        let per_head = cache(Reading::Evict { kept: 1024, per_query_head: true }) - whole / 32;
        assert!(per_head > 4 * whole / 128 && per_head < 5 * whole / 128, "{per_head}");
        // Nothing is kept twice.
        assert_eq!(cache(Reading::Narrow { layer: 13, kept: usize::MAX }), whole);
    }

    #[test]
    fn weights_shrink_with_their_format() {
        let of = |quantize, floats| {
            let need = Need { quantize, ..need(Reading::Whole) };
            Footprint { config: llama(), stored: 16_060_522_496, floats }.estimate(&need).weights
        };
        assert_eq!(of(None, true), 16_060_522_496);
        assert_eq!(of(Some(Quantization::Q4K), false), 16_060_522_496);
        assert_eq!(gigabytes(of(Some(Quantization::Q8_0), true)), 8.5);
        assert_eq!(gigabytes(of(Some(Quantization::Q4K), true)), 5.0);
    }

    #[test]
    fn activations_are_one_chunk_and_the_residual_stream() {
        let whole = need(Reading::Whole);
        let far = activations(&llama(), &whole);
        let chunk = 1024 * 4 * (2 * 4096 + 2 * 14336 + 14336 / 2) as u64;
        let dims = llama().rotaries[0].dims as u64;
        assert_eq!(far, 131_072 * (4096 + dims) * 4 + chunk + 128_256 * 4);
        assert!(activations(&llama(), &Need { prompt_tokens: 1, ..whole }) < chunk / 100);
    }

    /// What a GPU must hold for a prompt that GemFilter cuts, weights of 16 bits: published code takes 28.5 GiB.
    #[test]
    fn a_prompt_of_128k_tokens_on_8b_fits_18_gib() {
        let footprint = Footprint { config: llama(), stored: 16_060_522_496, floats: true };
        let need = Need { new_tokens: 256, ..need(Reading::Restart { kept: 1024 }) };
        // 16-bit copies of a chunk's rows and of its products, which only a GPU makes, and what one product needs.
        let copies = CHUNK * 2 * (llama().mlp as u64 + llama().hidden as u64) + CHUNK * 2 * llama().mlp as u64;
        let total = footprint.estimate(&need).total() + copies;
        assert!(total < 18 << 30, "{:.2} GiB", total as f64 / (1u64 << 30) as f64);
        assert!(footprint.estimate(&Need { reading: Reading::Whole, ..need }).total() > 32 << 30);
        // No tensor of the walk has so many numbers that an index of 32 bits would not reach them.
        let (prompt, config) = (need.prompt_tokens, llama());
        let largest = [prompt * config.hidden, prompt * config.key_width(), CHUNK as usize * config.mlp];
        assert!(largest.into_iter().all(|numbers| numbers < 1 << 31), "{largest:?}");
    }

    /// What a process took at its peak for SmolLM2 135M, by the kernel's count.
    #[test]
    fn measured_peaks_are_met_within_a_twentieth() {
        let config = Config {
            hidden: 576,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            mlp: 1536,
            vocab: 49152,
            layers: vec![LayerShape::default(); 30],
            rotaries: vec![RotaryConfig::plain(1e5, 64, Pairing::Half)],
            ..llama()
        };
        let (kept, per_query_head) = (512, false);
        for (prompt_tokens, reading, peak) in [
            (230, Reading::Whole, 138_588_160),
            (6900, Reading::Whole, 330_997_760),
            (6900, Reading::Restart { kept }, 177_102_848),
            (6900, Reading::Evict { kept, per_query_head }, 184_692_736),
        ] {
            let need = Need { prompt_tokens, new_tokens: 4, cache_row: 2 * 64, ..need(reading) };
            let footprint = Footprint { config: config.clone(), stored: 98_362_432, floats: false };
            let total = footprint.estimate(&need).total();
            assert!((total as f64 / f64::from(peak) - 1.0).abs() < 0.05, "{need:?}: {total} for {peak}");
        }
    }

    #[test]
    fn absurd_requests_do_not_overflow() {
        for reading in [Reading::Whole, Reading::Narrow { layer: usize::MAX, kept: usize::MAX }] {
            let need = Need { prompt_tokens: usize::MAX / 2, new_tokens: usize::MAX / 4, ..need(reading) };
            assert_eq!(Footprint { config: llama(), stored: 0, floats: true }.estimate(&need).total(), u64::MAX);
        }
    }
}
