//! What tests of several crates share.

use std::env::{home_dir, var_os};
use std::path::PathBuf;

use skimlm_core::{LayerShape, Result};

use crate::config::Config;
use crate::weights::Weights;
use crate::weights::random::{Random, Sizes};

/// The sizes of Llama 3.1 8B.
pub fn llama() -> Result<Config> {
    Ok(Config {
        hidden: 4096,
        heads: 32,
        kv_heads: 8,
        head_dim: 128,
        mlp: 14336,
        vocab: 128_256,
        layers: vec![LayerShape::default(); 32],
        ..Random::new(&Sizes::default())?.config().clone()
    })
}

/// The default model's file: `SKIMLM_TEST_MODEL`, else that of the cache. Where it is absent, says that tests are
/// skipped.
pub fn default_model() -> Option<PathBuf> {
    let cache = || {
        let base = || var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(home_dir()?.join(".cache")));
        let folder = var_os("SKIMLM_CACHE_DIR").map(PathBuf::from).or_else(|| Some(base()?.join("skimlm")))?;
        Some(folder.join("SmolLM2-135M-Instruct.Q4_1.gguf"))
    };
    let file = var_os("SKIMLM_TEST_MODEL").map(PathBuf::from).or_else(cache).filter(|file| file.is_file());
    if file.is_none() {
        skimlm_kernels::skipped!(
            "tests of the default model (no SmolLM2-135M-Instruct.Q4_1.gguf in the cache or at SKIMLM_TEST_MODEL)"
        );
    }
    file
}
