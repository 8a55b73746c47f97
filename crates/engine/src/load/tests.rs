use skimlm_core::{Role, Rows};
use skimlm_kernels::Level;
use skimlm_models::weights::gguf::write::{Tiny, write_tiny};
use skimlm_models::weights::safetensors::{self, Dtype};
use skimlm_policies::PolicySpec;

use super::*;
use crate::text::{ChatMessage, ChatRole};
use crate::{Cancel, Control, Session};

fn load(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    super::load(path, options, &mut |_, _| Ok(()))
}

#[test]
fn a_folder_and_a_file_of_one_model_are_alike() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    write_tiny(&file, &Tiny::default()).unwrap();
    let checkpoint = tempfile::tempdir().unwrap();
    safetensors::write::write_tiny(checkpoint.path(), &Tiny::default(), Dtype::F32).unwrap();
    let [one, other] = [&file, checkpoint.path()].map(|path: &Path| load(path, &LoadOptions::default()).unwrap());
    assert_eq!(one.model.shape(), other.model.shape());
    assert_eq!((one.limit, one.dtype), (other.limit, other.dtype));
    let text = "the thing 42 is <|im_end|> on \u{e9}";
    for special in [false, true] {
        let ids = |loaded: &Loaded| loaded.tokenizer.encode(text, special).unwrap();
        assert_eq!(ids(&one), ids(&other));
    }
    assert_eq!((one.tokenizer.bos(), one.tokenizer.leading_bos()), (other.tokenizer.bos(), None));
    assert_eq!(other.tokenizer.end_tokens(), [2, 0]);
    let message = ChatMessage { role: ChatRole::User, content: "hi".into() };
    let chat =
        |loaded: &Loaded| loaded.template.as_ref().unwrap().render(std::slice::from_ref(&message), true).unwrap();
    assert_eq!(chat(&one), chat(&other));
}

#[test]
fn the_type_is_of_the_cache_or_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    safetensors::write::write_tiny(folder.path(), &Tiny::default(), Dtype::BF16).unwrap();
    let of = |dtype: &str| load(folder.path(), &LoadOptions { dtype: Some(dtype.into()), ..LoadOptions::default() });
    for (name, dtype) in [("f32", DType::F32), ("bf16", DType::BF16), ("q8_0", DType::F16), ("q4_k", DType::F16)] {
        assert_eq!(of(name).unwrap().dtype, dtype, "{name}");
    }
    let values = |loaded: &Loaded| loaded.model.embed(&[7]).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (exact, rounded) = (values(&of("f32").unwrap()), values(&of("q8_0").unwrap()));
    assert!(exact != rounded && exact.iter().zip(&rounded).all(|(a, b)| (a - b).abs() < 0.01));
    assert_eq!(of("q9").err().map(|error| error.code), Some(Code::InvalidArg));
    for (kv, dtype) in [("auto", DType::F32), ("f16", DType::F16), ("bf16", DType::BF16), ("f32", DType::F32)] {
        assert_eq!(types(Some("f32"), Some(kv)).unwrap(), (dtype, None), "{kv}");
    }
    assert_eq!(types(Some("q8_0"), Some("q8_0")).unwrap(), (Q8_0, Some(Quantization::Q8_0)));
    assert_eq!(types(None, Some("q4_k")).err().unwrap().details["option"], "kvDtype");
}

#[test]
fn activations_are_rounded_further_only_where_asked_and_where_it_is_faster() {
    let folder = tempfile::tempdir().unwrap();
    safetensors::write::write_tiny(folder.path(), &Tiny::default(), Dtype::F32).unwrap();
    let logits = |activations: Option<&str>| {
        let (dtype, activations) = (Some("q8_0".into()), activations.map(str::to_owned));
        let loaded = load(folder.path(), &LoadOptions { dtype, activations, ..LoadOptions::default() })?;
        let policy = PolicySpec::default().build(&Context::new(loaded.model.shape(), 1))?;
        let mut session = Session::new(&*loaded.model, policy, loaded.dtype)?;
        let cancel = Cancel::default();
        let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 16, headroom: 0 };
        session.prefill(Rows::consecutive((3..19).collect(), 0, Role::Document), &mut control)
    };
    let (fine, coarse) = (logits(Some("auto")).unwrap(), logits(Some("int8")).unwrap());
    assert_eq!(logits(None).unwrap(), fine);
    let has = |name| skimlm_kernels::features().contains(&name);
    let faster = match skimlm_kernels::level().unwrap() {
        Level::Dotprod | Level::Vnni | Level::Amx => true,
        Level::Avx2 => has("avxvnni"),
        _ => false,
    };
    assert_eq!(fine != coarse, faster);
    let most = fine.iter().fold(0f32, |most, x| most.max(x.abs()));
    assert!(fine.iter().zip(&coarse).all(|(a, b)| (a - b).abs() < 0.1 * most));
    let error = logits(Some("int4")).unwrap_err();
    assert_eq!((error.code, error.details["option"].as_str()), (Code::InvalidArg, Some("activations")), "{error}");
}

#[test]
fn a_profile_beside_the_model_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    write_tiny(&file, &Tiny::default()).unwrap();
    assert!(load(&file, &LoadOptions::default()).unwrap().profile.is_none());
    let beside = folder.path().join("tiny.gguf.skimlm.json");
    assert_eq!(profile_beside(&file), beside);
    std::fs::write(&beside, "{}").unwrap();
    let error = load(&file, &LoadOptions::default()).err().unwrap();
    assert_eq!(error.details["profile"], beside.display().to_string(), "{error}");
}

#[test]
fn positions_and_threads_have_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    write_tiny(&file, &Tiny::default()).unwrap();
    let limit = |context_length| {
        let loaded = load(&file, &LoadOptions { context_length, ..LoadOptions::default() });
        loaded.map(|loaded| loaded.limit).map_err(|error| error.details["option"].clone())
    };
    let most = limit(None).unwrap();
    assert_eq!((limit(Some(most)), limit(Some(1))), (Ok(most), Ok(1)));
    for bad in [0, most + 1] {
        assert_eq!(limit(Some(bad)), Err("contextLength".into()), "{bad}");
    }
    for bad in [0, 1025] {
        assert_eq!(start_threads(Some(bad)).err().unwrap().details["option"], "threads", "{bad}");
    }
}

#[test]
fn blocks_of_the_cache_need_heads_of_whole_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    write_tiny(&file, &Tiny::default()).unwrap();
    let error = load(&file, &LoadOptions { kv_dtype: Some("q8_0".into()), ..LoadOptions::default() }).err().unwrap();
    assert_eq!((error.code, error.details["option"].as_str()), (Code::InvalidArg, Some("kvDtype")), "{error}");
    assert_eq!((row_bytes(Q8_0, 64).unwrap(), row_bytes(DType::F16, 64).unwrap()), (68, 128));
}

#[test]
fn a_folder_without_a_tokenizer_wants_one_named() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = Tiny { tokenizer: false, chat_template: None, ..Tiny::default() };
    safetensors::write::write_tiny(folder.path(), &tiny, Dtype::F16).unwrap();
    let error = load(folder.path(), &LoadOptions::default()).err().unwrap();
    assert!(error.code == Code::Tokenizer && error.message.contains("`tokenizer`"), "{error}");
    let other = tempfile::tempdir().unwrap();
    safetensors::write::write_tiny(other.path(), &Tiny::default(), Dtype::F16).unwrap();
    let tokenizer = Some(other.path().join("tokenizer.json"));
    let loaded = load(folder.path(), &LoadOptions { tokenizer, ..LoadOptions::default() }).unwrap();
    assert!(loaded.template.is_none());
}
