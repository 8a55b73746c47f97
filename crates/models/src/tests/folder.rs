use std::path::Path;

use candle_core::Device;
use safetensors::Dtype;
use serde_json::{Value, json};
use skimlm_core::{Code, Error};
use skimlm_kernels::linear::{BlockType, Weight};

use super::reference::{Case, cases};
use super::{floats, inspect, open, open_with, walk};
use crate::weights::quantized::{Quantization, Quantized, quantize};
use crate::weights::random::golden_ids;
use crate::weights::safetensors::write::{TensorData, write_folder};
use crate::weights::{LayerPart, Part, Weights};
use crate::{Config, Decoder, Footprint, ModelInfo, OpenOptions, Source};

fn case(name: &str) -> Case {
    cases().remove(name).unwrap()
}

/// A folder of the case with its config and tensors changed, and what comes of it.
fn changed(
    name: &str,
    config: impl Fn(&mut Value),
    tensors: impl Fn(&mut Vec<TensorData>),
) -> Result<ModelInfo, Error> {
    let mut case = case(name);
    config(&mut case.config);
    let mut written = case.tensors(Dtype::F32);
    tensors(&mut written);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &case.config.to_string(), &written, 1).unwrap();
    open(folder.path())?;
    inspect(folder.path())
}

#[test]
fn the_header_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    case("qwen2").write(folder.path(), Dtype::BF16, 1);
    let info = inspect(folder.path()).unwrap();
    assert_eq!((info.architecture.as_str(), info.layers, info.hidden_size, info.vocab_size), ("qwen2", 3, 32, 97));
    assert_eq!((info.heads, info.kv_heads, info.head_dim, info.max_positions), (4, 2, 8, 262_144));
    assert_eq!((info.quantization, info.chat_template, info.default_filter_layer), (None, None, 1));
    assert_eq!(info.tensor_types.iter().map(|of| of.kind.as_str()).collect::<Vec<_>>(), ["BF16"]);
    assert!(info.tensor_types[0].supported);
    assert_eq!(info.tensor_types[0].bytes, 2 * info.parameters);
    // A safetensors file means its folder.
    assert_eq!(inspect(&folder.path().join("model.safetensors")).unwrap().parameters, info.parameters);
}

#[test]
fn halves_answer_as_the_floats_they_stand_for() {
    for kind in [Dtype::F16, Dtype::BF16] {
        let folder = tempfile::tempdir().unwrap();
        case("qwen3").write(folder.path(), kind, 3);
        let opened = open(folder.path()).unwrap();
        let Source::Folder(source) = &opened.source else { panic!("a folder") };
        let all: Vec<TensorData> = source
            .tensors()
            .iter()
            .map(|info| {
                let weight = source.tensor(&info.name, None).unwrap();
                TensorData::new(&info.name, &floats(&weight), &info.shape, Dtype::F32)
            })
            .collect();
        let plain = tempfile::tempdir().unwrap();
        write_folder(plain.path(), &case("qwen3").config.to_string(), &all, 1).unwrap();
        // So few rows are multiplied without rounding.
        let ids = golden_ids(8, 97);
        let (got, want) = (walk(&opened.model, &ids).0, walk(&open(plain.path()).unwrap().model, &ids).0);
        assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-5), "{kind:?}");
    }
}

#[test]
fn missing_files_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let refused = |missing: Value| {
        let error = inspect(path).unwrap_err();
        assert_eq!(error.code, Code::ModelNotFound, "{error}");
        assert!(Path::new(error.details["path"].as_str().unwrap()).is_absolute());
        if !missing.is_null() {
            assert_eq!(error.details["missing"], missing, "{error}");
        }
        error
    };
    std::fs::write(path.join("config.json"), "{}").unwrap();
    assert!(refused(Value::Null).message.contains("config.json"));
    case("llama").write(path, Dtype::F32, 3);
    let shard = |i: usize| format!("model-{i:05}-of-00003.safetensors");
    std::fs::remove_file(path.join(shard(1))).unwrap();
    std::fs::remove_file(path.join(shard(3))).unwrap();
    refused(json!([shard(1), shard(3)]));
    std::fs::remove_file(path.join("model.safetensors.index.json")).unwrap();
    std::fs::write(path.join(shard(1)), "").unwrap();
    refused(json!(["model.safetensors.index.json"]));
    std::fs::remove_file(path.join("config.json")).unwrap();
    assert!(refused(Value::Null).message.contains("without their config.json"));
}

#[test]
fn an_index_cannot_lead_out_of_its_folder() {
    let outside = tempfile::tempdir().unwrap();
    case("llama").write(outside.path(), Dtype::F32, 1);
    let folder = tempfile::tempdir().unwrap();
    case("llama").write(folder.path(), Dtype::F32, 2);
    let stranger = outside.path().join("model.safetensors").display().to_string();
    for name in ["../x/model.safetensors", &stranger, "..", ""] {
        let index = json!({ "weight_map": { "model.norm.weight": name } }).to_string();
        std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        assert_eq!(inspect(folder.path()).unwrap_err().code, Code::ModelCorrupt, "{name}");
    }
}

#[test]
fn settings_that_cannot_be_run_are_refused() {
    let code = |key: &str, value: Value| {
        let set = |config: &mut Value| {
            if value.is_null() {
                config.as_object_mut().unwrap().remove(key);
            } else {
                config[key] = value.clone()
            }
        };
        changed("llama", set, |_| {}).err()
    };
    assert!(code("attention_dropout", json!(0.0)).is_none());
    for (key, value) in [
        ("model_type", Value::Null),
        ("hidden_size", Value::Null),
        ("hidden_size", json!(31)),
        ("hidden_size", json!("32")),
        ("num_hidden_layers", json!(4)),
        ("num_hidden_layers", json!(u64::MAX)),
        ("num_attention_heads", json!(0)),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(u64::MAX)),
        ("vocab_size", json!(96)),
        ("rms_norm_eps", json!(-1.0)),
        ("rope_theta", json!(-1.0)),
        ("partial_rotary_factor", json!(1.5)),
        ("rope_scaling", json!({ "type": "linear" })),
        ("rope_scaling", json!({ "type": "longrope", "short_factor": [1.0], "long_factor": [1.0] })),
        ("rope_scaling", json!([1, 2])),
        ("layer_types", json!(["full_attention"])),
    ] {
        let error = code(key, value.clone()).unwrap_or_else(|| panic!("{key} {value}"));
        assert_eq!(error.code, Code::ModelCorrupt, "{key} {value}: {error}");
    }
    // Widths whose sum is more than a number holds, in a family that adds them to find its rows.
    let wide = |config: &mut Value| {
        for key in ["num_attention_heads", "num_key_value_heads", "head_dim"] {
            config[key] = u32::MAX.into();
        }
    };
    let error = changed("phi3", wide, |_| {}).unwrap_err();
    assert!(error.code == Code::ModelCorrupt && error.message.contains("too many"), "{error}");
    // More layers than tensors, said by the header alone.
    let folder = tempfile::tempdir().unwrap();
    let mut deep = case("llama");
    deep.config["num_hidden_layers"] = 4096.into();
    deep.write(folder.path(), Dtype::F32, 1);
    let error = inspect(folder.path()).unwrap_err();
    assert_eq!((error.code, &error.details["claimed"]), (Code::ModelCorrupt, &json!(4096)), "{error}");
    for (key, value) in [
        ("model_type", json!("mamba")),
        ("hidden_act", json!("relu")),
        ("rope_scaling", json!({ "type": "spiral" })),
        ("quantization_config", json!({ "quant_method": "gptq" })),
        ("final_logit_softcapping", json!(30.0)),
        ("use_bidirectional_attention", json!(true)),
        ("layer_types", json!(["full_attention", "linear_attention", "full_attention"])),
    ] {
        let error = code(key, value.clone()).unwrap_or_else(|| panic!("{key} {value}"));
        assert_eq!(error.code, Code::ModelUnsupported, "{key} {value}: {error}");
        assert!(error.details["architecture"].is_string() && error.details["supported"].is_array(), "{error}");
    }
}

#[test]
fn tensors_that_are_missing_misshapen_or_left_over_are_refused() {
    let at = |tensors: &[TensorData], name: &str| tensors.iter().position(|t| t.name == name).unwrap();
    let v = "model.layers.1.self_attn.v_proj.weight";
    let missing = changed("llama", |_| {}, |tensors| drop(tensors.remove(at(tensors, v)))).unwrap_err();
    let misshapen = changed(
        "llama",
        |_| {},
        |tensors| {
            let at = at(tensors, v);
            tensors[at].shape.reverse();
        },
    );
    for error in [missing, misshapen.unwrap_err()] {
        assert_eq!((error.code, &error.details["tensor"]), (Code::ModelCorrupt, &v.into()), "{error}");
    }
    let extra = |name: &str| TensorData::new(name, &[0.0; 32], &[32], Dtype::F32);
    let bias = "model.layers.0.self_attn.o_proj.bias";
    let left = changed("llama", |_| {}, |tensors| tensors.push(extra(bias))).unwrap_err();
    assert_eq!((left.code, &left.details["tensors"]), (Code::ModelUnsupported, &json!([bias])), "{left}");
    let names = ["model.layers.0.self_attn.rotary_emb.inv_freq", "vision.weight"];
    changed("llama", |_| {}, |tensors| tensors.extend(names.map(extra))).unwrap();
    // A head that is stored although it is tied is the embedding.
    changed("llama-tied", |_| {}, |tensors| tensors.push(extra("lm_head.weight"))).unwrap();
    let other = changed("llama", |_| {}, |tensors| tensors[0].kind = Dtype::I32).unwrap_err();
    assert_eq!((other.code, &other.details["type"]), (Code::ModelUnsupported, &"I32".into()), "{other}");
}

#[test]
fn damaged_weights_are_found() {
    let folder = tempfile::tempdir().unwrap();
    case("llama").write(folder.path(), Dtype::F32, 1);
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for len in [whole.len() - 1, whole.len() / 2, 100, 9, 8, 3, 0] {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(inspect(folder.path()).unwrap_err().code, Code::ModelCorrupt, "{len}");
    }
    for text in ["version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "<!DOCTYPE html><html></html>"] {
        std::fs::write(&path, text).unwrap();
        let error = inspect(folder.path()).unwrap_err();
        assert!(error.code == Code::ModelCorrupt && error.details.contains_key("looksLike"), "{error}");
    }
    let mut rotten = whole.clone();
    let end = rotten.len();
    rotten[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, rotten).unwrap();
    open(folder.path()).unwrap();
    for quantize in [None, Some(Quantization::Q8_0)] {
        let options = OpenOptions { verify: true, quantize, ..OpenOptions::default() };
        let error = open_with(folder.path(), options).unwrap_err();
        assert!(error.code == Code::ModelCorrupt && error.details.contains_key("block"), "{error}");
    }
}

/// A folder with rows that hold whole blocks of 256.
fn wide() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (config, tensors) = wide_case();
    write_folder(folder.path(), &config, &tensors, 1).unwrap();
    folder
}

fn wide_case() -> (String, Vec<TensorData>) {
    let mut case = case("llama");
    for (key, value) in [("hidden_size", 256), ("intermediate_size", 512), ("head_dim", 64)] {
        case.config[key] = value.into();
    }
    for shape in case.tensors.values_mut() {
        shape.iter_mut().for_each(|size| *size *= if *size == 97 { 1 } else { 8 });
    }
    (case.config.to_string(), case.tensors(Dtype::BF16))
}

/// The floats that another source's weights stand for.
struct Floats<'a>(&'a dyn Weights);

impl Weights for Floats<'_> {
    fn config(&self) -> &Config {
        self.0.config()
    }

    fn matrix(&self, part: Part) -> Result<Weight, Error> {
        let weight = self.0.matrix(part)?;
        Ok(Weight::from_f32(floats(&weight), weight.rows(), weight.cols())?)
    }

    fn vector(&self, part: Part) -> Result<Vec<f32>, Error> {
        self.0.vector(part)
    }
}

#[test]
fn weights_are_quantised_on_load() {
    let folder = wide();
    // So few rows are multiplied without rounding.
    let ids = golden_ids(8, 97);
    let Source::Folder(source) = Source::open(folder.path()).unwrap() else { panic!("a folder") };
    let weights = source.weights().unwrap();
    let config = weights.config();
    for (to, inner) in [(Quantization::Q8_0, BlockType::Q8_0), (Quantization::Q4K, BlockType::Q4K)] {
        let mut silent = |_, _| Ok(());
        let small = Quantized::new(&weights, to, &mut silent).unwrap();
        let expected = walk(&Decoder::new(&Floats(&small), &Device::Cpu).unwrap(), &ids).0;
        let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        let mut seen = Vec::new();
        let mut note = |done, total| {
            seen.push((done, total));
            Ok(())
        };
        let options = OpenOptions { quantize: Some(to), progress: Some(&mut note), ..OpenOptions::default() };
        let logits = walk(&open_with(folder.path(), options).unwrap().model, &ids).0;
        for (got, want) in logits.iter().zip(&expected) {
            assert!((got - want).abs() < 1e-3 * largest, "{to:?}: {got} {want}");
        }
        let total = seen[0].1;
        assert!(seen.is_sorted() && seen[0].0 == 0 && seen[seen.len() - 1] == (total, total), "{seen:?}");
        for (part, format) in [
            (Part::Embedding, BlockType::Q8_0),
            (Part::Head, BlockType::Q8_0),
            (Part::Layer(1, LayerPart::Query), inner),
            (Part::Layer(2, LayerPart::Down), inner),
        ] {
            let weight = small.matrix(part).unwrap();
            assert_eq!((weight.dtype(), (weight.rows(), weight.cols())), (format, part.shape(config)));
        }
        let taken: u64 = Part::all(config)
            .map(|part| match part.shape(config) {
                (1, cols) => cols as u64 * 4,
                (rows, _) => (small.matrix(part).unwrap().row_bytes() * rows) as u64,
            })
            .sum();
        assert_eq!(total, taken);
        let footprint = Footprint::of(&Source::open(folder.path()).unwrap()).unwrap();
        assert_eq!(footprint.weights(Some(to)), taken);
        assert!(taken < footprint.weights(None));
    }
    let mut stop = |done, _| if done > 0 { Err(Error::new(Code::Cancelled, "enough")) } else { Ok(()) };
    let options =
        OpenOptions { quantize: Some(Quantization::Q8_0), progress: Some(&mut stop), ..OpenOptions::default() };
    assert_eq!(open_with(folder.path(), options).unwrap_err().code, Code::Cancelled);
}

/// A tensor that is no part of the model says nothing of its weights.
#[test]
fn memory_of_a_smaller_format_counts_what_is_brought_to_it() {
    let folder = wide();
    let weights = || Footprint::of(&Source::open(folder.path()).unwrap()).unwrap().weights(Some(Quantization::Q4K));
    let plain = weights();
    let (config, mut tensors) = wide_case();
    tensors.push(TensorData::new("vision.ids", &[0.0; 8], &[4], Dtype::I64));
    write_folder(folder.path(), &config, &tensors, 1).unwrap();
    assert_eq!(weights(), plain);
}

/// A look through the weights before they are quantised can be ended too.
#[test]
fn a_verification_before_quantising_can_be_ended() {
    let folder = wide();
    let mut calls = 0;
    let mut stop = |done, _| {
        calls += 1;
        if calls > 2 { Err(Error::new(Code::Cancelled, format!("at {done}"))) } else { Ok(()) }
    };
    let options = OpenOptions {
        verify: true,
        quantize: Some(Quantization::Q8_0),
        progress: Some(&mut stop),
        ..OpenOptions::default()
    };
    let error = open_with(folder.path(), options).unwrap_err();
    assert!(error.code == Code::Cancelled && error.message.ends_with("at 0"), "{error}");
}

#[test]
fn rows_without_whole_blocks_stay_or_become_q8_0() {
    use Quantization::{Q4K, Q8_0};
    let inner = Part::Layer(0, LayerPart::Gate);
    assert_eq!(Q4K.format(inner, 512), Some(BlockType::Q4K));
    assert_eq!(Q4K.format(inner, 576), Some(BlockType::Q8_0));
    assert_eq!(Q4K.format(inner, 100), None);
    assert_eq!(Q4K.format(Part::Head, 512), Some(BlockType::Q8_0));
    assert_eq!(Q8_0.format(inner, 512), Some(BlockType::Q8_0));
    assert_eq!(Q8_0.format(inner, 33), None);
}

/// What candle makes of a whole matrix is what it makes of its rows.
#[test]
fn quantising_by_rows_is_candles_own() {
    use candle_core::quantized::QTensor;
    let folder = wide();
    let Source::Folder(source) = Source::open(folder.path()).unwrap() else { panic!("a folder") };
    let weight = source.tensor("model.layers.0.mlp.up_proj.weight", None).unwrap();
    let tensor = candle_core::Tensor::from_vec(floats(&weight), (weight.rows(), weight.cols()), &Device::Cpu).unwrap();
    for format in [BlockType::Q8_0, BlockType::Q4K] {
        let ours = quantize(&weight, format).unwrap();
        let theirs = QTensor::quantize(&tensor, format).unwrap();
        assert_eq!(ours.blocks(0..ours.rows()).unwrap(), &*theirs.data().unwrap());
    }
}
