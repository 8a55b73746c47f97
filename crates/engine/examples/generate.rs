//! The engine without a bridge: reads a request as JSON, prints the outcome as JSON.
//!
//! `cargo run --release -p skimlm-engine --example generate -- model.gguf request.json [threads] [cache type]`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;

use skimlm_engine::{Event, LoadOptions, Request, Worker};
use skimlm_kernels::allocator::{self, Allocator};

/// As in the addon, so that the two can be compared.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> Result<(), Box<dyn Error>> {
    allocator::tune();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, request, rest @ ..] = args.as_slice() else {
        return Err("usage: generate MODEL.gguf REQUEST.json [THREADS] [KV_DTYPE]".into());
    };
    let threads = rest.first().map(|t| t.parse()).transpose()?;
    let options = LoadOptions { threads, kv_dtype: rest.get(1).cloned(), ..LoadOptions::default() };
    let worker = Worker::load(PathBuf::from(model), options, |_, _| Ok(()))?;
    let run = worker.start(Request::parse(&serde_json::from_slice(&std::fs::read(request)?)?)?)?;
    while let Some(events) = run.next_blocking() {
        for event in events? {
            if let Event::Finish(outcome) = event {
                println!("{}", serde_json::to_string(&outcome)?);
            }
        }
    }
    Ok(())
}
