//! What 8 bits cost in quality on a real model, of the cache or of activations, beside the default.
//!
//! `cargo run --release -p skimlm-engine --example rounding -- model.gguf tokens.json [context]`
//!
//! `tokens.json` holds `{"prompt": {"tokens": [...]}}`. Under each policy the first 660 tokens are read and 24 are
//! generated greedily; then `context` tokens (default 4000) are read and the loss of the 256 behind them is compared.
#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::error::Error;
use std::path::PathBuf;

use serde_json::{Value, json};
use skimlm_core::{Role, Rows};
use skimlm_engine::{Cancel, Control, LoadOptions, Loaded, Session, load};
use skimlm_kernels::logits;
use skimlm_policies::{Context, PolicySpec};

type Fallible<T> = Result<T, Box<dyn Error>>;

const PROMPT: usize = 660;
const GENERATED: usize = 24;
const SCORED: usize = 256;

fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokens, rest @ ..] = args.as_slice() else {
        return Err("usage: rounding MODEL.gguf TOKENS.json [CONTEXT]".into());
    };
    let context: usize = rest.first().map_or(Ok(4000), |n| n.parse())?;
    let tokens: Value = serde_json::from_slice(&std::fs::read(tokens)?)?;
    let tokens: Vec<u32> = serde_json::from_value(tokens["prompt"]["tokens"].clone())?;
    let prompt = tokens.get(..PROMPT).ok_or("too few tokens")?;
    let open = |options: LoadOptions| load(&PathBuf::from(model), &options, &mut |_, _| Ok(()));
    let fine = open(LoadOptions::default())?;
    let policies = [
        json!({ "kind": "full" }),
        json!({ "kind": "gemfilter", "budget": 128 }),
        json!({ "kind": "promptdistill", "stages": [{ "layer": 12, "budget": 128 }] }),
        json!({ "kind": "snapkv", "budget": 160 }),
        json!({ "kind": "h2o", "heavy": 128, "recent": 32 }),
        json!({ "kind": "tova", "budget": 160 }),
        json!({ "kind": "sinkwindow", "sink": 4, "recent": 156 }),
    ];
    let exact = policies.iter().map(|policy| read(&fine, policy, prompt)).collect::<Fallible<Vec<_>>>()?;
    println!("loss behind {context} tokens: {:.5}", loss(&fine, &tokens, context)?);
    for (name, options) in [
        ("kvDtype q8_0", LoadOptions { kv_dtype: Some("q8_0".into()), ..LoadOptions::default() }),
        ("activations int8", LoadOptions { activations: Some("int8".into()), ..LoadOptions::default() }),
    ] {
        let coarse = open(options)?;
        for (policy, fine) in policies.iter().zip(&exact) {
            let coarse = read(&coarse, policy, prompt)?;
            let same = fine.greedy.iter().zip(&coarse.greedy).take_while(|(a, b)| a == b).count();
            let off = fine.logits.iter().zip(&coarse.logits).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            let kept = fine.kept.intersection(&coarse.kept).count() as f64 / fine.kept.len().max(1) as f64;
            println!(
                "{name}, {policy}: {same} of {GENERATED} greedy tokens, largest logit difference {off:.3}, \
                 overlap {kept:.3} of {}",
                fine.kept.len()
            );
        }
        println!("{name}, loss behind {context} tokens: {:.5}", loss(&coarse, &tokens, context)?);
    }
    Ok(())
}

struct Read {
    logits: Vec<f32>,
    greedy: Vec<u32>,
    /// What was kept: of rows, else of the entries of every bank.
    kept: HashSet<(usize, u32)>,
}

fn session<'m>(loaded: &'m Loaded, policy: &Value) -> Fallible<Session<'m>> {
    let context = Context::new(loaded.model.shape(), loaded.info.file.default_filter_layer);
    Ok(Session::new(&*loaded.model, PolicySpec::parse(policy)?.build(&context)?, loaded.dtype)?)
}

fn read(loaded: &Loaded, policy: &Value, prompt: &[u32]) -> Fallible<Read> {
    let mut session = session(loaded, policy)?;
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 512, headroom: GENERATED };
    let logits = session.prefill(Rows::consecutive(prompt.to_vec(), 0, Role::Document), &mut control)?;
    let kept = match session.report().filter(|report| report.heads.is_none()) {
        Some(report) => report.indices.iter().map(|&i| (0, i)).collect(),
        None => {
            let layers = 0..session.cache().lengths().len();
            let banks = layers.map(|layer| Ok(session.cache().layer(layer)?.banks())).collect::<Fallible<Vec<_>>>()?;
            let banks = banks.into_iter().flatten().enumerate();
            banks.flat_map(|(i, bank)| bank.positions().iter().map(move |&p| (i, p))).collect()
        }
    };
    let (mut next, mut greedy) = (logits.clone(), Vec::new());
    for _ in 0..GENERATED {
        let best = logits::top(&next)?.index as u32;
        greedy.push(best);
        next = session.step(best, &mut control)?;
    }
    Ok(Read { logits, greedy, kept })
}

/// Mean negative log-likelihood of the tokens behind the context.
fn loss(loaded: &Loaded, tokens: &[u32], context: usize) -> Fallible<f64> {
    let mut session = session(loaded, &json!({ "kind": "full" }))?;
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 512, headroom: SCORED };
    let (read, scored) = tokens.get(..context + SCORED).ok_or("too few tokens")?.split_at(context);
    let mut logits = session.prefill(Rows::consecutive(read.to_vec(), 0, Role::Document), &mut control)?;
    let mut total = 0.0;
    for &id in scored {
        total += logits::top(&logits)?.log_sum - f64::from(logits[id as usize]);
        logits = session.step(id, &mut control)?;
    }
    Ok(total / SCORED as f64)
}
