//! A calibration without a bridge: reads a plan as JSON, writes the profile.
//!
//! `cargo run --release -p skimlm-eval --example calibrate -- model.gguf plan.json profile.json`
#![allow(clippy::print_stderr)]

use std::error::Error;
use std::path::Path;

use skimlm_engine::{Cancel, LoadOptions, load};
use skimlm_eval::calibrate::{CalibrationPlan, calibrate};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, plan, profile] = args.as_slice() else {
        return Err("usage: calibrate MODEL.gguf PLAN.json PROFILE.json".into());
    };
    let loaded = load(Path::new(model), &LoadOptions::default(), &mut |_, _| Ok(()))?;
    let plan: CalibrationPlan = serde_json::from_slice(&std::fs::read(plan)?)?;
    let made = calibrate(&plan, &loaded, &Cancel::default(), &mut |progress| eprintln!("{progress:?}"))?;
    std::fs::write(profile, serde_json::to_string_pretty(&made)? + "\n")?;
    Ok(())
}
