//! Fuzz target of the GGUF and safetensors headers.
//!
//! As a test it runs a few thousand random edits of sound files. For hours, with coverage:
//! `cargo install cargo-bolero && cargo bolero test -p skimlm-models --test fuzz headers`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::sync::{Arc, LazyLock};

use bolero::check;
use skimlm_core::Code;
use skimlm_models::weights::gguf::Gguf;
use skimlm_models::weights::gguf::write::{Tiny, gguf_bytes};
use skimlm_models::weights::safetensors::{self, Dtype, write::write_tiny};

/// A sound file of each format.
static SEEDS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let tiny = Tiny::default();
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), &tiny, Dtype::F16).unwrap();
    let gguf = gguf_bytes(&tiny.metadata().unwrap(), &tiny.tensors().unwrap());
    [gguf, std::fs::read(folder.path().join("model.safetensors")).unwrap()]
});

/// Puts bytes at places of a sound file, or takes a file as it comes.
fn edited(seed: &[u8], edits: &[(u16, u8)], raw: &[u8]) -> Vec<u8> {
    if edits.is_empty() {
        return raw.to_vec();
    }
    let mut bytes = seed.to_vec();
    for &(at, value) in edits {
        let at = usize::from(at) % bytes.len();
        bytes[at] = value;
    }
    bytes
}

#[test]
fn headers() {
    check!().with_type::<(bool, Vec<(u16, u8)>, Vec<u8>)>().for_each(|(second, edits, raw)| {
        let bytes = edited(&SEEDS[usize::from(*second)], edits, raw);
        let outcome = if *second {
            safetensors::read_header(&bytes).map(drop)
        } else {
            Gguf::from_bytes(Arc::new(bytes)).and_then(|gguf| {
                gguf.metadata().for_each(drop);
                gguf.tensors().iter().for_each(|info| drop(gguf.tensor(&info.name)));
                gguf.weights().map(drop)
            })
        };
        if let Err(error) = outcome {
            assert!(matches!(error.code, Code::ModelCorrupt | Code::ModelUnsupported), "{error}");
        }
    });
}
