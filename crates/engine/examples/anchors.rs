//! What anchors save: bytes of keys and values, and tokens a second of decoding, beside full attention.
//!
//! `cargo run --release -p skimlm-engine --example anchors -- MODEL [ANCHORS] [SEGMENT] [TOKENS] [ROUNDS]`
//!
//! The prompt is made of tokens from all over the vocabulary with an anchor after every SEGMENT of them:
//! its speed does not depend on what it says. Rounds are interleaved; the numbers are medians.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use skimlm_core::{Error, Result, Role, Rows};
use skimlm_engine::text::named_tokens;
use skimlm_engine::{Cancel, Control, LoadOptions, Loaded, Session, load};
use skimlm_policies::{Context, PolicySpec};

const GENERATED: usize = 32;

struct Round {
    bytes: usize,
    entries: usize,
    prefill: f64,
    decode: f64,
}

fn run(loaded: &Loaded, spec: &PolicySpec, anchors: &[u32], prompt: &[u32]) -> Result<Round> {
    let context = Context { tokens: anchors, ..Context::new(loaded.model.shape(), 0) };
    let mut session = Session::new(&*loaded.model, spec.build(&context)?, loaded.dtype)?;
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 512, headroom: GENERATED };
    let started = Instant::now();
    session.prefill(Rows::consecutive(prompt.to_vec(), 0, Role::Document), &mut control)?;
    let prefill = started.elapsed().as_secs_f64();
    let (bytes, entries) = (session.cache().bytes(), session.cache().lengths()[0]);
    let started = Instant::now();
    for i in 0..GENERATED {
        session.step(prompt[1 + i % 8], &mut control)?;
    }
    Ok(Round { bytes, entries, prefill, decode: GENERATED as f64 / started.elapsed().as_secs_f64() })
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut all: Vec<f64> = rounds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(default).max(1);
    let Some(model) = args.first() else {
        return Err(Error::invalid_option("MODEL", "", "a GGUF file or a folder"));
    };
    let rule = args.get(1).map_or("sentence", String::as_str);
    let (segment, tokens, rounds) = (number(2, 25).max(2), number(3, 4096).max(16), number(4, 5));
    let loaded = load(&PathBuf::from(model), &LoadOptions::default(), &mut |_, _| Ok(()))?;
    let specs = [
        PolicySpec::parse(&json!({ "kind": "full" }))?,
        PolicySpec::parse(&json!({ "kind": "anllm", "anchors": rule }))?,
    ];
    let anchors = named_tokens(&specs[1], &loaded.tokenizer)?;
    let vocab = loaded.model.shape().vocab;
    let word = |i: usize| (i * 7919 % vocab) as u32;
    let words = (0..).map(word).filter(|id| !anchors.contains(id));
    let prompt: Vec<u32> = words
        .take(tokens)
        .enumerate()
        .map(|(i, id)| if i % segment == segment - 1 { anchors[0] } else { id })
        .collect();
    let mut all: [Vec<Round>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (rounds, spec) in all.iter_mut().zip(&specs) {
            rounds.push(run(&loaded, spec, &anchors, &prompt)?);
        }
    }
    println!("{model}: {tokens} tokens, an anchor every {segment}, {rounds} rounds");
    println!("policy    entries   KV bytes   prefill s   decode tokens/s");
    for (rounds, spec) in all.iter().zip(&specs) {
        println!(
            "{:<8} {:>8} {:>10} {:>11.3} {:>17.1}",
            spec.kind(),
            rounds[0].entries,
            rounds[0].bytes,
            median(rounds, |r| r.prefill),
            median(rounds, |r| r.decode)
        );
    }
    let [full, kept] = &all;
    println!(
        "KV reduction {:.1} %, decode {:.2} times, prefill {:.2} times as fast",
        100.0 * (1.0 - kept[0].bytes as f64 / full[0].bytes as f64),
        median(kept, |r| r.decode) / median(full, |r| r.decode),
        median(full, |r| r.prefill) / median(kept, |r| r.prefill)
    );
    Ok(())
}
