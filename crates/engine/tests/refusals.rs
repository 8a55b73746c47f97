//! What is wrong with a model or a policy, from a file on disk to the code and the message.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use serde_json::{Value, json};
use skimlm_core::{Code, Error};
use skimlm_engine::text::Prompt;
use skimlm_engine::{Cancel, LoadOptions, Loaded, Outcome, Request, Worker, generate, inspect, load};
use skimlm_models::weights::gguf::write::{Meta, Tiny, gguf_bytes, write_gguf};
use skimlm_models::weights::safetensors::{Dtype, write::write_tiny};
use skimlm_policies::PolicySpec;

fn open(path: &Path) -> Result<Loaded, Error> {
    load(path, &LoadOptions::default(), &mut |_, _| Ok(()))
}

fn refused(path: &Path) -> Error {
    open(path).err().unwrap()
}

fn ask(loaded: &Loaded, policy: &Value) -> Result<Outcome, Error> {
    let mut request = Request::new(Prompt::Tokens((3..60).collect()));
    request.policy = PolicySpec::parse(policy).unwrap();
    request.max_new_tokens = 2;
    generate(loaded, &request, &Cancel::default(), Default::default(), &mut |_| {})
}

/// A folder of the tiny model with its settings changed.
fn folder(change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(folder.path(), &Tiny::default(), Dtype::F32).unwrap();
    let path = folder.path().join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
    folder
}

#[test]
fn a_vocabulary_of_another_size_is_refused_at_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let tiny = Tiny::default();
    let mut metadata = tiny.metadata().unwrap();
    for (_, value) in &mut metadata {
        match value {
            Meta::Texts(list) => list.truncate(tiny.sizes.vocab - 1),
            Meta::I32s(list) => list.truncate(tiny.sizes.vocab - 1),
            _ => {}
        }
    }
    metadata.retain(|(key, _)| key != "tokenizer.ggml.merges");
    write_gguf(&path, &metadata, &tiny.tensors().unwrap()).unwrap();
    let error = refused(&path);
    assert_eq!((error.code, &error.details["rows"]), (Code::Tokenizer, &tiny.sizes.vocab.into()), "{error}");
    assert!(error.message.contains("do not belong together"), "{error}");
}

#[test]
fn what_is_wrong_with_the_words_is_said_before_the_weights_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut metadata = Tiny::default().metadata().unwrap();
    for (key, value) in &mut metadata {
        if key == "tokenizer.ggml.pre" {
            *value = Meta::Text("mellow".into());
        }
    }
    write_gguf(&path, &metadata, &Tiny::default().tensors().unwrap()).unwrap();
    let mut progress = |_: u64, _: u64| -> Result<(), Error> { panic!("weights were read") };
    let error = load(&path, &LoadOptions::default(), &mut progress).err().unwrap();
    assert_eq!((error.code, &error.details["preTokenizer"]), (Code::Tokenizer, &"mellow".into()));
    let unsupported = inspect(&path).unwrap().unsupported;
    assert!(unsupported.len() == 1 && unsupported[0].contains("`mellow`"), "{unsupported:?}");
    assert!(inspect(folder_without_words().path()).unwrap().unsupported[0].contains("tokenizer.json"));
}

#[test]
fn options_that_the_header_refutes_are_refused_before_the_weights_are_read() {
    let folder = folder(|_| {});
    let other = folder.path().join("other.skimlm.json");
    std::fs::write(&other, "{}").unwrap();
    let plain = LoadOptions::default();
    for (options, code) in [
        (LoadOptions { context_length: Some(1 << 20), ..plain.clone() }, Code::InvalidArg),
        (LoadOptions { chat_template: Some("{% if %}".into()), ..plain.clone() }, Code::ChatTemplate),
        (LoadOptions { profile: Some(other), ..plain }, Code::InvalidArg),
    ] {
        let mut progress = |_: u64, _: u64| -> Result<(), Error> { panic!("weights were read") };
        let error = load(folder.path(), &options, &mut progress).err().unwrap();
        assert_eq!(error.code, code, "{error}");
    }
}

fn folder_without_words() -> tempfile::TempDir {
    let folder = folder(|_| {});
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    folder
}

#[test]
fn a_policy_that_cannot_see_the_prompt_is_unsupported() {
    // Every layer of this one sees 16 tokens back.
    let slides = |config: &mut Value| {
        config["model_type"] = "mistral".into();
        config["sliding_window"] = 16.into();
    };
    let folder = folder(slides);
    let info = inspect(folder.path()).unwrap();
    assert_eq!(info.file.window, Some(16));
    assert!(!info.supported_policies.contains(&"gemfilter") && info.supported_policies.contains(&"snapkv"));
    let worker = Worker::load(folder.path().into(), LoadOptions::default(), |_, _| Ok(())).unwrap();
    for kind in ["gemfilter", "promptdistill"] {
        let request = Request::parse(&json!({ "prompt": "the of in", "policy": { "kind": kind } })).unwrap();
        let error = worker.start(request).err().unwrap();
        assert_eq!((error.code, &error.details["window"]), (Code::PolicyUnsupported, &16.into()), "{error}");
        assert!(error.message.contains("info.supportedPolicies"), "{error}");
    }
    for kind in info.supported_policies {
        ask(&open(folder.path()).unwrap(), &json!({ "kind": kind })).unwrap();
    }
}

#[test]
fn numbers_that_are_none_are_an_error_with_their_layer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let tiny = Tiny::default();
    let broken = |name: &str, value: f32| {
        let mut tensors = tiny.tensors().unwrap();
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
        tensor.bytes[..4].copy_from_slice(&value.to_le_bytes());
        std::fs::write(&path, gguf_bytes(&tiny.metadata().unwrap(), &tensors)).unwrap();
        open(&path).unwrap()
    };
    let failed = |loaded: &Loaded, policy: Value| {
        let error = ask(loaded, &policy).unwrap_err();
        assert_eq!(error.code, Code::Numerics, "{policy}: {error}");
        assert!(error.message.contains("dtype"), "{error}");
        error
    };
    // A key of f16 beyond 65504; the sizes of the model leave the rest as it is.
    for value in [f32::NAN, 1e9] {
        let loaded = broken("blk.1.attn_k.weight", value);
        for policy in [json!({ "kind": "full" }), json!({ "kind": "snapkv", "window": 2, "budget": 8 })] {
            assert_eq!(failed(&loaded, policy).details["layer"], 1, "{value}");
        }
    }
    let loaded = broken("blk.0.ffn_down.weight", f32::NAN);
    let filter = json!({ "kind": "gemfilter", "budget": 8, "layer": 1, "pins": { "template": false } });
    assert_eq!(failed(&loaded, filter).details["layer"], 1);
    assert_eq!(failed(&loaded, json!({ "kind": "full" })).details["layer"], 1);
    // Behind the last layer nothing is cached that would show it.
    let loaded = broken("output_norm.weight", f32::NAN);
    assert!(failed(&loaded, json!({ "kind": "full" })).details.contains_key("token"));
    // With `verify` it does not come that far.
    let options = LoadOptions { verify: true, ..LoadOptions::default() };
    let error = load(&path, &options, &mut |_, _| Ok(())).err().unwrap();
    assert_eq!((error.code, &error.details["tensor"]), (Code::ModelCorrupt, &"output_norm.weight".into()));
}
