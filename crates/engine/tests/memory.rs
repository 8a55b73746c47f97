//! The estimate of a request's memory beside what a process took.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use skimlm_core::Code;
use skimlm_engine::text::Prompt;
use skimlm_engine::{Cancel, LoadOptions, MemoryNeed, Request, estimate_memory, generate, load, peak_resident_bytes};
use skimlm_kernels::linear::BlockType;
use skimlm_models::testing::default_model;
use skimlm_models::weights::gguf::write::{TensorData, Tiny, write_gguf};
use skimlm_models::weights::random::{Random, Sizes};
use skimlm_models::weights::safetensors::Dtype;
use skimlm_models::weights::safetensors::write::write_tiny;
use skimlm_models::weights::{Part, Weights};
use skimlm_policies::PolicySpec;

/// What the child process is to do, as JSON.
const JOB: &str = "SKIMLM_MEMORY_TEST_JOB";
const NEW_TOKENS: usize = 4;

/// Not a test of its own: the child process of the one below runs it.
#[test]
fn one_request_in_a_process_of_its_own() {
    let Some(job) = std::env::var_os(JOB) else { return };
    let job: Value = serde_json::from_str(job.to_str().unwrap()).unwrap();
    let options = serde_json::from_value(job["options"].clone()).unwrap();
    let loaded = load(Path::new(job["model"].as_str().unwrap()), &options, &mut |_, _| Ok(())).unwrap();
    let tokens: Vec<u32> = (0..job["tokens"].as_u64().unwrap()).map(|i| (i * 7919 % 40_000 + 100) as u32).collect();
    if !tokens.is_empty() {
        let mut request = Request::new(Prompt::Tokens(tokens));
        request.policy = PolicySpec::parse(&job["policy"]).unwrap();
        request.max_new_tokens = NEW_TOKENS;
        generate(&loaded, &request, &Cancel::default(), Default::default(), &mut |_| {}).unwrap();
    }
    println!("peak {}", peak_resident_bytes());
}

fn peak(job: &Value) -> u64 {
    let job = job.to_string();
    let arguments = ["one_request_in_a_process_of_its_own", "--exact", "--nocapture"];
    let output = Command::new(std::env::current_exe().unwrap()).args(arguments).env(JOB, job).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().find_map(|line| line.split_once("peak ")?.1.parse().ok());
    found.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn the_estimate_is_within_a_tenth_of_the_peak() {
    if std::env::var_os(JOB).is_some() {
        return;
    }
    let Some(model) = default_model() else { return };
    if peak_resident_bytes() == 0 {
        skimlm_kernels::skipped!("this system does not tell a process's peak");
        return;
    }
    for policy in [json!({ "kind": "full" }), json!({ "kind": "gemfilter", "budget": 512 })] {
        for tokens in [2000, 6000] {
            let need = json!({ "promptTokens": tokens, "maxNewTokens": NEW_TOKENS, "policy": policy });
            let estimate = &estimate_memory(&model, &[MemoryNeed::parse(&need).unwrap()]).unwrap()[0];
            let peak = peak(&json!({ "model": model, "options": {}, "policy": policy, "tokens": tokens }));
            let ratio = estimate.total as f64 / peak as f64;
            println!("{policy} {tokens}: estimated {}, measured {peak}, ratio {ratio:.3}", estimate.total);
            assert!((0.9..=1.1).contains(&ratio), "{policy} {tokens}: {estimate:?} for {peak}");
        }
    }
}

#[test]
fn loading_takes_the_weights_and_little_more() {
    if std::env::var_os(JOB).is_some() {
        return;
    }
    if peak_resident_bytes() == 0 {
        skimlm_kernels::skipped!("this system does not tell a process's peak");
        return;
    }
    let words = tempfile::tempdir().unwrap();
    write_tiny(words.path(), &Tiny::default(), Dtype::F32).unwrap();
    let least = peak(&json!({ "model": words.path(), "options": {}, "tokens": 0 }));
    let sizes = [271, 1024, 128, 64];
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    // Old files do not align their tensors, which are copied then.
    zeros(folders[0].path(), sizes, 0).unwrap();
    zeros(folders[1].path(), sizes, 1).unwrap();
    zeros_in_gguf(&folders[2].path().join("model.gguf"), sizes);
    for (folder, what) in folders.iter().zip(["aligned", "not aligned", "GGUF"]) {
        let files = std::fs::read_dir(folder.path()).unwrap();
        let size = files.map(|file| file.unwrap().metadata().unwrap().len()).max().unwrap();
        for (dtype, bits) in [("auto", 16.0), ("q8_0", 8.5), ("q4_k", 4.5)] {
            // One of the four large matrices lies in memory while it is brought to a smaller format.
            let most = if dtype == "auto" { 1.1 } else { f64::min(bits / 16.0 + 0.25 + 0.05, 0.8) };
            let options = json!({ "dtype": dtype, "tokenizer": words.path().join("tokenizer.json") });
            let job = json!({ "model": folder.path(), "options": options, "tokens": 0 });
            let taken = peak(&job).saturating_sub(least);
            println!("{what}, {dtype}: {:.3} of the file's size", taken as f64 / size as f64);
            assert!((taken as f64) < most * size as f64, "{what}, {dtype}: {taken} for a file of {size}");
        }
    }
}

/// The model of [`zeros`] as a GGUF file of F16.
fn zeros_in_gguf(path: &Path, [vocab, hidden, heads, head_dim]: [u64; 4]) {
    let [vocab, hidden, heads, head_dim] = [vocab, hidden, heads, head_dim].map(|size| size as usize);
    let sizes = Sizes { vocab, hidden, heads, kv_heads: heads, head_dim, layers: 1, mlp: 8, ..Sizes::default() };
    let random = Random::new(&sizes).unwrap();
    let tensor = |part: Part| {
        let (rows, cols) = part.shape(random.config());
        let zero = TensorData::new(&part.gguf(), &vec![0.0; cols], cols, BlockType::F16).unwrap();
        match rows {
            1 => zero,
            _ => TensorData { dims: vec![cols as u64, rows as u64], bytes: vec![0; 2 * rows * cols], ..zero },
        }
    };
    let tensors: Vec<TensorData> = Part::all(random.config()).map(tensor).collect();
    write_gguf(path, &Tiny { sizes, ..Tiny::default() }.metadata().unwrap(), &tensors).unwrap();
}

/// A llama folder of these sizes with zeros for weights, which take no room on most disks. Tensors start
/// `offset` bytes behind a multiple of 8.
fn zeros(folder: &Path, [vocab, hidden, heads, head_dim]: [u64; 4], offset: usize) -> std::io::Result<()> {
    let config = json!({
        "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": 1, "num_attention_heads": heads,
        "num_key_value_heads": heads, "head_dim": head_dim, "intermediate_size": 8, "vocab_size": vocab,
        "max_position_embeddings": 1u32 << 31, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 10000.0,
        "tie_word_embeddings": true, "eos_token_id": 2,
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let width = heads * head_dim;
    let shapes = [
        (layer("input_layernorm"), vec![hidden]),
        (layer("self_attn.q_proj"), vec![width, hidden]),
        (layer("self_attn.k_proj"), vec![width, hidden]),
        (layer("self_attn.v_proj"), vec![width, hidden]),
        (layer("self_attn.o_proj"), vec![hidden, width]),
        (layer("post_attention_layernorm"), vec![hidden]),
        (layer("mlp.gate_proj"), vec![8, hidden]),
        (layer("mlp.up_proj"), vec![8, hidden]),
        (layer("mlp.down_proj"), vec![hidden, 8]),
        ("model.norm.weight".into(), vec![hidden]),
        ("model.embed_tokens.weight".into(), vec![vocab, hidden]),
    ];
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in shapes {
        let start = end;
        end += 2 * shape.iter().product::<u64>();
        header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] }));
    }
    let mut header = Value::from(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len() + offset));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let path = folder.join("model.safetensors");
    std::fs::write(&path, &bytes)?;
    std::fs::OpenOptions::new().write(true).open(path)?.set_len(bytes.len() as u64 + end)
}

#[test]
fn a_model_larger_than_memory_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    if let Err(error) = zeros(folder.path(), [1 << 31, 1024, 8, 8], 0) {
        skimlm_kernels::skipped!("the disk takes no sparse file of 4 TiB: {error}");
        return;
    }
    for dtype in [None, Some("q8_0".to_owned()), Some("q4_k".to_owned())] {
        let error = load(folder.path(), &LoadOptions { dtype, ..LoadOptions::default() }, &mut |_, _| Ok(())).err();
        let error = error.unwrap();
        assert_eq!(error.code, Code::OutOfMemory, "{error}");
        let number = |key: &str| error.details[key].as_u64().unwrap();
        assert!(number("needed") > 1 << 41 && number("free") < number("needed"), "{error:?}");
        assert!(error.details["suggestion"].as_str().unwrap().contains("dtype"));
    }
    let need = MemoryNeed::parse(&json!({ "promptTokens": 1 })).unwrap();
    assert!(!estimate_memory(folder.path(), &[need]).unwrap()[0].fits);
}

#[test]
fn a_prompt_larger_than_memory_is_refused_and_the_next_is_not() {
    let folder = tempfile::tempdir().unwrap();
    // One MiB of keys and values a token.
    zeros(folder.path(), [271, 8, 4096, 64], 0).unwrap();
    let words = tempfile::tempdir().unwrap();
    write_tiny(words.path(), &Tiny::default(), Dtype::F32).unwrap();
    let options = LoadOptions { tokenizer: Some(words.path().join("tokenizer.json")), ..LoadOptions::default() };
    let loaded = load(folder.path(), &options, &mut |_, _| Ok(())).unwrap();
    let read = |tokens: usize, policy: Value| {
        let mut request = Request::new(Prompt::Tokens(vec![7; tokens]));
        request.policy = PolicySpec::parse(&policy).unwrap();
        request.max_new_tokens = 1;
        generate(&loaded, &request, &Cancel::default(), Default::default(), &mut |_| {})
    };
    let error = read(8 << 20, json!({ "kind": "full" })).unwrap_err();
    assert_eq!(error.code, Code::OutOfMemory, "{error}");
    assert!(error.details["needed"].as_u64().unwrap() > 1 << 42, "{error:?}");
    assert!(error.details["suggestion"].as_str().unwrap().contains("policy"));
    // Of the same prompt a few tokens fit, and so does another prompt.
    read(8 << 20, json!({ "kind": "firstlast", "budget": 4, "pins": { "sinks": 0 } })).unwrap();
    assert_eq!(read(3, json!({ "kind": "full" })).unwrap().usage.new_tokens, 1);
}
