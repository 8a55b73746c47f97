//! An evaluation without a bridge: reads a plan as JSON, prints the table.
//!
//! `cargo run --release -p skimlm-eval --example run -- model.gguf plan.json`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::path::Path;

use skimlm_engine::{Cancel, LoadOptions, load};
use skimlm_eval::{report, run};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, plan] = args.as_slice() else {
        return Err("usage: run MODEL.gguf PLAN.json".into());
    };
    let loaded = load(Path::new(model), &LoadOptions::default(), &mut |_, _| Ok(()))?;
    let plan: run::Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
    let summary = run::run(&plan, &loaded, &Cancel::default(), &mut |progress| {
        eprintln!("{} of {}", progress.done, progress.total);
    })?;
    println!("{}", report::markdown(&summary));
    Ok(())
}
