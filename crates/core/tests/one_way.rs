//! The one-way rule: kernels <- core <- { models, policies } <- engine <- { train, eval } <- node.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The storey of a crate; crates of one storey do not know each other.
const STOREYS: &[(&str, u32)] = &[
    ("skimlm-kernels", 0),
    ("skimlm-core", 1),
    ("skimlm-models", 2),
    ("skimlm-policies", 2),
    ("skimlm-engine", 3),
    ("skimlm-train", 4),
    ("skimlm-eval", 4),
    ("skimlm-node", 5),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn metadata() -> serde_json::Value {
    let args = ["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"];
    let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn dependencies_point_down() {
    let storeys: BTreeMap<_, _> = STOREYS.iter().copied().collect();
    let metadata = metadata();
    let mut edges = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let storey = storeys.get(name).unwrap_or_else(|| panic!("{name} has no storey: add it to STOREYS"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            // A crate may ask itself for features of its own in tests.
            if let Some(below) = storeys.get(to).filter(|_| to != name) {
                assert!(below < storey, "{name} must not depend on {to}");
                edges += 1;
            }
            assert!(!to.starts_with("napi") || name == "skimlm-node", "{name} depends on {to}: napi belongs to node");
        }
    }
    assert!(edges >= 10, "only {edges} edges were looked at");
}

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn unsafe_code_and_features_stay_where_they_belong() {
    let crates = root().join("crates");
    let mut files = Vec::new();
    for (name, _) in STOREYS {
        let src = crates.join(name.trim_start_matches("skimlm-")).join("src");
        if src.is_dir() {
            sources(&src, &mut files);
        }
    }
    assert!(files.len() > 50, "only {} files were looked at", files.len());
    for (path, text) in &files {
        let path = path.to_string_lossy().replace('\\', "/");
        let in_kernels = path.contains("crates/kernels/");
        let is_map = path.contains("crates/models/") && path.ends_with("/map.rs");
        assert!(in_kernels || is_map || !text.contains("allow(unsafe_code)"), "unsafe code in {path}");
        assert!(in_kernels || !text.contains("feature = \"cuda\""), "a cuda switch in {path}");
    }
}
