//! Every family against transformers: see scripts/reference/reference.py.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;
use skimlm_core::Model;

use super::convert::gguf_of;
use super::{open, walk_at};
use crate::weights::gguf::write::write_gguf;
use crate::weights::random::{golden_ids, hashed};
use crate::weights::safetensors::write::{TensorData, write_folder};
use crate::{Decoder, Source};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference");

/// A tiny model.
#[derive(Deserialize)]
pub(super) struct Case {
    pub(super) config: Value,
    pub(super) tensors: BTreeMap<String, Vec<usize>>,
    long_positions: Vec<u32>,
}

pub(super) fn cases() -> BTreeMap<String, Case> {
    serde_json::from_str(&std::fs::read_to_string(Path::new(FIXTURES).join("cases.json")).unwrap()).unwrap()
}

impl Case {
    /// The values of a tensor, by its name alone; the script has the same rule.
    fn values(&self, name: &str, count: usize) -> Vec<f32> {
        if name.contains("norm") {
            let base = if self.config["model_type"] == "gemma3_text" { 0.0 } else { 1.0 };
            return hashed(name, count, 0.25).into_iter().map(|x| base + x).collect();
        }
        let rotated = ["q_proj", "k_proj", "qkv_proj"].iter().any(|part| name.contains(part));
        hashed(
            name,
            count,
            if name.contains("embed_tokens") {
                1.0
            } else if rotated {
                0.5
            } else {
                0.25
            },
        )
    }

    pub(super) fn tensors(&self, kind: Dtype) -> Vec<TensorData> {
        let tensor = |(name, shape): (&String, &Vec<usize>)| {
            TensorData::new(name, &self.values(name, shape.iter().product()), shape, kind)
        };
        self.tensors.iter().map(tensor).collect()
    }

    pub(super) fn write(&self, folder: &Path, kind: Dtype, shards: usize) {
        write_folder(folder, &self.config.to_string(), &self.tensors(kind), shards).unwrap();
    }
}

/// Logits must be near the stored ones, at short and at long positions.
fn compare(model: &Decoder, name: &str, case: &Case) {
    let bytes = std::fs::read(Path::new(FIXTURES).join("logits.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let ids = golden_ids(64, 97);
    let short: Vec<u32> = (0..64).collect();
    for (kind, positions) in [("short", &short), ("long", &case.long_positions)] {
        let expected = stored.tensor(&format!("{name}.{kind}")).unwrap();
        let expected: Vec<f32> =
            expected.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(expected.len(), 16 * 97);
        let (logits, _) = walk_at(model, &ids, positions);
        assert_eq!(logits.len(), 64 * 97);
        let rows = logits.chunks(97).skip(3).step_by(4).flatten();
        let distances = rows.zip(&expected).map(|(got, want)| (got - want).abs());
        // `f32::max` would lose a NaN.
        let furthest = distances.fold(0f32, |most, d| if d.is_nan() { d } else { most.max(d) });
        println!("{name:20} {kind:6} {furthest:.1e}");
        assert!(furthest < 1e-4, "{name} {kind}: {furthest}");
    }
}

#[test]
fn safetensors_folders_give_the_reference_logits() {
    let cases = cases();
    for family in ["llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3", "granite"] {
        assert!(cases.keys().any(|name| name.starts_with(family)), "{family}");
    }
    for (name, case) in cases {
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path(), Dtype::F32, 1 + name.len() % 3);
        compare(&open(folder.path()).unwrap().model, &name, &case);
    }
}

#[test]
fn gguf_files_give_the_reference_logits() {
    let mut written = 0;
    for (name, case) in cases() {
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path(), Dtype::F32, 1);
        let Source::Folder(source) = Source::open(folder.path()).unwrap() else { panic!("a folder") };
        let Some((metadata, tensors)) = gguf_of(&case.config, &source) else {
            println!("{name:20} GGUF has no words for it");
            continue;
        };
        let path = folder.path().join("model.gguf");
        write_gguf(&path, &metadata, &tensors).unwrap();
        let opened = open(&path).unwrap();
        assert!(opened.model.shape().layers.len() >= 3);
        compare(&opened.model, &name, &case);
        written += 1;
    }
    assert!(written >= 14, "{written}");
}
