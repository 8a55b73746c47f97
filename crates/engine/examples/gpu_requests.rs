//! Whole requests on models of 8B sizes with random weights: time to first token, decoding and peak memory.
//!
//! `cargo run --release -p skimlm-engine --features skimlm-kernels/cuda --example gpu_requests -- [DEVICE] [LENGTHS] [ROUNDS]`
//!
//! All layers share one matrix of random numbers on the host and have copies of their own on the device: speed does
//! not depend on the numbers. Decoding is greedy, ahead of the host and a step at a time. Rounds are interleaved (full, gemfilter,
//! promptdistill, full, ...). One JSON line a
//! policy and length with medians; a length that does not fit says so. `small` as DEVICE runs tiny sizes on the CPU,
//! to see that the bench itself works.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device};
use serde_json::{Value, json};
use skimlm_core::{Model, Result, Role, Rows, Warning};
use skimlm_engine::sample::{Sampler, Sampling};
use skimlm_engine::{Cancel, Control, Session, Stepper};
use skimlm_kernels::device;
use skimlm_kernels::linear::{BlockType, Bytes, Weight};
use skimlm_models::weights::random::{Random, Sizes};
use skimlm_models::weights::{Part, Weights};
use skimlm_models::{Config, Decoder};
use skimlm_policies::{Context, PolicySpec};

const GENERATED: usize = 64;
const CHUNK: usize = 2048;

/// Every matrix a part of the same bytes.
struct Shared {
    config: Config,
    bytes: Arc<Vec<u8>>,
}

impl Shared {
    fn new(sizes: &Sizes) -> Result<Self> {
        let config = Random::new(sizes)?.config().clone();
        let largest = Part::all(&config).map(|part| part.shape(&config)).map(|(rows, cols)| rows * cols).max();
        let mut state = 0x9e37_79b9u32;
        // Numbers around 0.02 of both signs, as trained weights are: 0x3ca3 is 0.02 in bf16.
        let numbers = (0..largest.unwrap_or(0)).flat_map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (0x3c80 | (state >> 20 & 0x7f) as u16 | (state >> 16 & 0x8000) as u16).to_le_bytes()
        });
        Ok(Self { config, bytes: Arc::new(numbers.collect()) })
    }
}

impl Weights for Shared {
    fn config(&self) -> &Config {
        &self.config
    }

    fn matrix(&self, part: Part) -> Result<Weight> {
        let (rows, cols) = part.shape(&self.config);
        let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::<Vec<u8>>::clone(&self.bytes);
        Ok(Weight::new(BlockType::BF16, rows, cols, Bytes::new(owner, 0..rows * cols * 2)?)?)
    }

    fn vector(&self, part: Part) -> Result<Vec<f32>> {
        Ok(vec![1.0; part.shape(&self.config).1])
    }
}

struct Round {
    first: f64,
    decode: f64,
    /// The same a step at a time.
    single: f64,
    /// Why steps were not ahead of the host.
    warnings: Vec<Warning>,
    peak: u64,
}

fn run(model: &Decoder, spec: &PolicySpec, tokens: usize) -> Result<Round> {
    let shape = model.shape();
    let layer = shape.layers.len() * 2 / 5;
    let mut session = Session::new(model, spec.build(&Context::new(shape, layer))?, DType::BF16)?;
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: CHUNK, headroom: 2 * GENERATED };
    let word = |i: usize| (i * 7919 % shape.vocab) as u32;
    device::reset_peak(model.device());
    let started = Instant::now();
    session.prefill(Rows::consecutive((0..tokens).map(word).collect(), 0, Role::Document), &mut control)?;
    let first = started.elapsed().as_secs_f64();
    let mut warnings = Vec::new();
    let mut decode = |ahead: bool| -> Result<f64> {
        let mut sampler = Sampler::new(Sampling::default())?;
        let (mut stepper, mut token) = (Stepper::new(&session, ahead), word(0));
        let started = Instant::now();
        for done in 0..GENERATED {
            sampler.follow(&[token]);
            let left = GENERATED - done;
            let next = stepper.step(&mut session, left, &sampler, &mut control, &mut warnings)?;
            token = sampler.choose(next)?.0;
        }
        Ok(GENERATED as f64 / started.elapsed().as_secs_f64())
    };
    let (single, decode) = (decode(false)?, decode(true)?);
    Ok(Round { first, decode, single, warnings, peak: device::peak(model.device()).unwrap_or(0) })
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let at = args.first().map_or("0", String::as_str);
    let small = at == "small";
    let (device, sizes) = if small {
        let sizes = Sizes { vocab: 997, max_positions: 1 << 18, ..Sizes::default() };
        (Device::Cpu, sizes)
    } else {
        let sizes = Sizes {
            vocab: 128_256,
            hidden: 4096,
            layers: 32,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            mlp: 14336,
            theta: 5e5,
            max_positions: 1 << 18,
            ..Sizes::default()
        };
        (device::open(at.parse().unwrap_or(0))?, sizes)
    };
    let lengths = args.get(1).map_or(if small { "256" } else { "2048,8192,32768,131072" }, String::as_str);
    let rounds = args.get(2).and_then(|n| n.parse().ok()).unwrap_or(5usize);
    let model = Decoder::new(&Shared::new(&sizes)?, &device)?;
    device.synchronize()?;
    let keep = if small { 32 } else { 1024 };
    let layer = sizes.layers * 2 / 5;
    let specs = [
        ("full", json!({ "kind": "full" })),
        ("gemfilter", json!({ "kind": "gemfilter", "budget": keep, "layer": layer })),
        ("promptdistill", json!({ "kind": "promptdistill", "stages": [{ "layer": layer, "budget": keep }] })),
    ];
    let specs =
        specs.into_iter().map(|(name, spec)| Ok((name, PolicySpec::parse(&spec)?))).collect::<Result<Vec<_>>>()?;
    for tokens in lengths.split(',').filter_map(|length| length.parse::<usize>().ok()) {
        let mut found: Vec<Vec<Round>> = specs.iter().map(|_| Vec::new()).collect();
        let mut failed: Vec<Option<Value>> = vec![None; specs.len()];
        // The first round only warms up.
        for round in 0..=rounds {
            for (i, (_, spec)) in specs.iter().enumerate().filter(|(i, _)| failed[*i].is_none()).collect::<Vec<_>>() {
                match run(&model, spec, tokens) {
                    Ok(one) if round > 0 => found[i].push(one),
                    Ok(_) => {}
                    Err(error) => failed[i] = Some(json!({ "code": error.code.as_str(), "message": error.message })),
                }
            }
        }
        for (((name, _), rounds), failed) in specs.iter().zip(&found).zip(failed) {
            let line = match failed {
                Some(error) => json!({ "policy": name, "tokens": tokens, "error": error }),
                None => json!({
                    "policy": name,
                    "tokens": tokens,
                    "keep": keep,
                    "layer": layer,
                    "ttftSeconds": median(rounds, |round| round.first),
                    "decodePerSecond": median(rounds, |round| round.decode),
                    "stepByStepPerSecond": median(rounds, |round| round.single),
                    "warnings": rounds.first().map(|round| &round.warnings),
                    "peakBytes": median(rounds, |round| round.peak as f64),
                    "againstFull": median(&found[0], |round| round.first) / median(rounds, |round| round.first),
                }),
            };
            println!("{line}");
        }
    }
    Ok(())
}
