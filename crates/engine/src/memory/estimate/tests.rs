use skimlm_core::LayerShape;
use skimlm_models::rope::{Pairing, RotaryConfig};
use skimlm_models::testing;

use super::*;

/// 17.2 GB of keys and values for 131072 tokens, 0.54 GB for one layer's.
fn llama() -> Config {
    testing::llama().unwrap()
}

fn need(reading: Reading) -> Need {
    Need { prompt_tokens: 131_072, new_tokens: 0, reading, cache_row: 2 * 128, quantize: None }
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
fn activations_are_one_chunk_and_the_residual_stream() {
    let whole = need(Reading::Whole);
    let far = activations(&llama(), &whole);
    let chunk = 1024 * 4 * (2 * 4096 + 2 * 14336 + 14336 / 2) as u64;
    let dims = llama().rotaries[0].dims as u64;
    assert_eq!(far, 131_072 * (4096 + dims) * 4 + chunk + 128_256 * 4);
    assert!(activations(&llama(), &Need { prompt_tokens: 1, ..whole }) < chunk / 100);
}

#[test]
fn a_smaller_format_is_one_of_weights_alone() {
    let footprint = Footprint { config: llama(), stored: 16_060_522_496, floats: true };
    let of = |quantize| Estimate::of(&footprint, &Need { quantize, ..need(Reading::Whole) });
    let (small, whole) = (of(Some(Quantization::Q4K)), of(None));
    assert!(small.weights < whole.weights);
    assert_eq!(Estimate { weights: whole.weights, ..small }, whole);
}

/// What a GPU must hold for a prompt that GemFilter cuts, weights of 16 bits: published code takes 28.5 GiB.
#[test]
fn a_prompt_of_128k_tokens_on_8b_fits_18_gib() {
    let footprint = Footprint { config: llama(), stored: 16_060_522_496, floats: true };
    let need = Need { new_tokens: 256, ..need(Reading::Restart { kept: 1024 }) };
    // 16-bit copies of a chunk's rows and of its products, which only a GPU makes, and what one product needs.
    let copies = CHUNK * 2 * (llama().mlp as u64 + llama().hidden as u64) + CHUNK * 2 * llama().mlp as u64;
    let total = Estimate::of(&footprint, &need).total() + copies;
    assert!(total < 18 << 30, "{:.2} GiB", total as f64 / (1u64 << 30) as f64);
    assert!(Estimate::of(&footprint, &Need { reading: Reading::Whole, ..need }).total() > 32 << 30);
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
        let total = Estimate::of(&footprint, &need).total();
        assert!((total as f64 / f64::from(peak) - 1.0).abs() < 0.05, "{need:?}: {total} for {peak}");
    }
}

#[test]
fn absurd_requests_do_not_overflow() {
    for reading in [Reading::Whole, Reading::Narrow { layer: usize::MAX, kept: usize::MAX }] {
        let need = Need { prompt_tokens: usize::MAX / 2, new_tokens: usize::MAX / 4, ..need(reading) };
        let footprint = Footprint { config: llama(), stored: 0, floats: true };
        assert_eq!(Estimate::of(&footprint, &need).total(), u64::MAX);
    }
}
