use std::sync::Arc;

use skimlm_core::{Code, Error};

use super::write::{Meta, TensorData, Tiny, gguf_bytes, write_gguf};
use super::{Gguf, TensorType, Value};
use crate::weights::Weights;
use crate::weights::random::Sizes;

fn read(bytes: Vec<u8>) -> Result<Gguf, Error> {
    Gguf::from_bytes(Arc::new(bytes))
}

fn tiny() -> Tiny {
    Tiny { sizes: Sizes { layers: 1, ..Tiny::default().sizes }, ..Tiny::default() }
}

fn file(metadata: Vec<(&str, Meta)>, tensors: &[TensorData]) -> Vec<u8> {
    let metadata: Vec<_> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    gguf_bytes(&metadata, tensors)
}

fn tensor(name: &str, dims: &[u64], kind: u32, bytes: usize) -> TensorData {
    TensorData { name: name.into(), dims: dims.into(), kind: TensorType(kind), bytes: vec![0; bytes] }
}

fn corrupt(bytes: Vec<u8>, says: &str) -> Error {
    let error = read(bytes).unwrap_err();
    assert_eq!(error.code, Code::ModelCorrupt, "{error}");
    assert!(error.message.contains(says), "`{says}` is not in: {error}");
    error
}

#[test]
fn what_was_written_is_read() {
    let gguf = read(gguf_bytes(&tiny().metadata().unwrap(), &tiny().tensors().unwrap())).unwrap();
    assert_eq!(gguf.get_str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(gguf.get_u32("llama.block_count").unwrap(), Some(1));
    assert_eq!(gguf.get_f32("llama.rope.freq_base").unwrap(), Some(10000.0));
    assert_eq!(gguf.get_bool("tokenizer.ggml.add_bos_token").unwrap(), Some(false));
    assert_eq!(gguf.get_str("no.such.key").unwrap(), None);
    let tokens = gguf.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!((tokens[1], tokens[3 + 32], tokens[3 + 65]), ("<|im_start|>", "Ġ", "A"));
    assert_eq!(tokens.len(), gguf.get_array("tokenizer.ggml.tokens").unwrap().unwrap().len());
    assert_eq!(gguf.integers("tokenizer.ggml.token_type").unwrap().unwrap()[..4], [3, 3, 3, 1]);
    assert_eq!(gguf.metadata().count(), tiny().metadata().unwrap().len());
    assert!(gguf.metadata().all(|(_, value)| value.is_ok()));
    for wanted in tiny().tensors().unwrap() {
        let info = gguf.info(&wanted.name).unwrap();
        assert_eq!((&info.dims, info.kind), (&wanted.dims, wanted.kind));
        let weight = gguf.tensor(&wanted.name).unwrap();
        assert_eq!(weight.blocks(0..weight.rows()).unwrap(), wanted.bytes, "{}", wanted.name);
    }
}

#[test]
fn a_value_of_another_type_is_named() {
    let gguf = read(file(
        vec![
            ("a", Meta::Text("x".into())),
            ("b", Meta::Raw(10, u64::MAX.to_le_bytes().into())),
            ("c", Meta::Raw(8, [&2u64.to_le_bytes()[..], &[0xFF, 0xFE]].concat())),
            ("d", Meta::Raw(7, vec![7])),
            ("e", Meta::Raw(3, (-5i16).to_le_bytes().into())),
        ],
        &[],
    ))
    .unwrap();
    for error in [
        gguf.get_u32("a").unwrap_err(),
        gguf.strings("a").unwrap_err(),
        gguf.get_u32("b").unwrap_err(),
        gguf.get_str("c").unwrap_err(),
        gguf.get_bool("d").unwrap_err(),
        gguf.get_u32("e").unwrap_err(),
    ] {
        assert_eq!(error.code, Code::ModelCorrupt, "{error}");
        assert!(error.details.contains_key("key"), "{error}");
    }
    assert_eq!(gguf.get("e").unwrap(), Some(Value::Signed(-5)));
    assert_eq!(gguf.metadata().filter(|(_, value)| value.is_err()).count(), 2);
}

#[test]
fn what_is_no_gguf_is_recognised() {
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 98362432\n";
    assert_eq!(corrupt(lfs.to_vec(), "git-lfs pointer").details["looksLike"], "git-lfs pointer");
    corrupt(b"\n <!DOCTYPE html><html>".to_vec(), "HTML page");
    corrupt(b"<html lang=en>".to_vec(), "HTML page");
    corrupt(Vec::new(), "empty");
    corrupt(b"PK\x03\x04....".to_vec(), "zip archive");
    corrupt(b"ggjt\x01\0\0\0".to_vec(), "before GGUF");
    corrupt(b"\x40\0\0\0\0\0\0\0{\"a\":1}".to_vec(), "safetensors");
    corrupt(b"GGUX".to_vec(), "does not start with `GGUF`");
    corrupt(b"GGUF".to_vec(), "cut short");
}

#[test]
fn versions_and_byte_order() {
    let with = |version: [u8; 4]| {
        let mut bytes = file(vec![], &[]);
        bytes[4..8].copy_from_slice(&version);
        read(bytes)
    };
    assert!(with([2, 0, 0, 0]).is_ok());
    assert_eq!(with([1, 0, 0, 0]).unwrap_err().code, Code::ModelUnsupported);
    let big = with([0, 0, 0, 3]).unwrap_err();
    assert!(big.code == Code::ModelUnsupported && big.message.contains("big-endian"), "{big}");
    assert_eq!(with([9, 0, 0, 0]).unwrap_err().code, Code::ModelCorrupt);
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let whole = gguf_bytes(&tiny().metadata().unwrap(), &tiny().tensors().unwrap());
    assert!(read(whole.clone()).is_ok());
    for len in (0..whole.len()).step_by(17).chain([whole.len() - 1]) {
        let error = read(whole[..len].to_vec()).unwrap_err();
        assert_eq!(error.code, Code::ModelCorrupt, "{len}: {error}");
    }
    let error = read(whole[..whole.len() - 1].to_vec()).unwrap_err();
    assert_eq!(error.details["tensor"], "output.weight");
    assert_eq!((&error.details["end"], &error.details["fileBytes"]), (&whole.len().into(), &(whole.len() - 1).into()));
}

#[test]
fn absurd_counts_and_lengths_are_refused_at_once() {
    let put = |at: usize, value: u64| {
        let mut bytes = gguf_bytes(&tiny().metadata().unwrap(), &tiny().tensors().unwrap());
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    for value in [u64::MAX, u64::MAX / 2, 1 << 40, 1 << 20] {
        corrupt(put(8, value), "tensors");
        corrupt(put(16, value), "metadata entries");
        corrupt(put(24, value), "a metadata key");
    }
    let array = |kind: u32, len: u64| Meta::Raw(9, [&kind.to_le_bytes()[..], &len.to_le_bytes()].concat());
    for kind in 0..13 {
        corrupt(file(vec![("a", array(kind, u64::MAX))], &[]), "elements of a");
        corrupt(file(vec![("a", array(kind, 1 << 61))], &[]), "elements of a");
    }
    let nest = [9u32.to_le_bytes(), 1u32.to_le_bytes(), [0; 4]].concat().repeat(1000);
    corrupt(file(vec![("a", Meta::Raw(9, nest))], &[]), "deep");
    corrupt(file(vec![("a", Meta::Raw(77, vec![]))], &[]), "has the type 77");
}

#[test]
fn impossible_tensors_are_refused() {
    let one = |tensor: TensorData| file(vec![], &[tensor]);
    corrupt(one(tensor("t", &[], 0, 4)), "0 dimensions");
    corrupt(one(tensor("t", &[1; 5], 0, 4)), "5 dimensions");
    corrupt(one(tensor("t", &[4, 0], 0, 4)), "impossible sizes");
    corrupt(one(tensor("t", &[1 << 40, 1 << 40], 0, 4)), "impossible sizes");
    corrupt(one(tensor("t", &[1 << 62], 0, 4)), "ends beyond any file");
    corrupt(one(tensor("t", &[33], 2, 36)), "multiples of 32");
    corrupt(one(tensor("t", &[9], 0, 32)), "ends at byte");
    let two = [tensor("t", &[8], 0, 32), tensor("t", &[8], 0, 32)];
    assert_eq!(corrupt(file(vec![], &two), "two tensors").details["tensor"], "t");
    corrupt(file(vec![("k", Meta::Bool(true)), ("k", Meta::Bool(true))], &[]), "stands twice");
    // The offset is the last number of a header without padding.
    for (offset, says) in [
        (u64::MAX, "not at a multiple"),
        (u64::MAX - 31, "ends beyond any file"),
        (3, "not at a multiple"),
        (1 << 33, "ends at byte"),
    ] {
        let mut bytes = one(tensor("t", &[8], 0, 32));
        let at = 24 + 8 + 1 + 4 + 8 + 4;
        assert_eq!(bytes[at..at + 8], [0; 8]);
        bytes[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        corrupt(bytes, says);
    }
}

#[test]
fn alignment_is_a_power_of_two() {
    let with =
        |alignment| file(vec![("general.alignment", alignment)], &[tensor("t", &[2], 0, 8), tensor("u", &[2], 0, 8)]);
    for sound in [1, 8, 64, 4096] {
        let gguf = read(with(Meta::U32(sound))).unwrap();
        assert_eq!(gguf.info("u").unwrap().range.start as u32 % sound, 0);
        assert!(gguf.tensor("u").is_ok());
    }
    for bad in [0, 3, 24, 1 << 31] {
        corrupt(with(Meta::U32(bad)), "power of two");
    }
    corrupt(with(Meta::Text("32".into())), "power of two");
}

#[test]
fn an_unknown_number_format_is_fatal_only_when_used() {
    let gguf = read(file(vec![], &[tensor("t", &[32], 99, 7), tensor("u", &[32], 20, 18), tensor("v", &[32], 8, 34)]))
        .unwrap();
    assert_eq!(gguf.tensors().iter().map(|t| t.kind.to_string()).collect::<Vec<_>>(), ["type 99", "IQ4_NL", "Q8_0"]);
    for (name, kind) in [("t", "type 99"), ("u", "IQ4_NL")] {
        let error = gguf.tensor(name).err().unwrap();
        assert_eq!((error.code, &error.details["type"]), (Code::ModelUnsupported, &kind.into()));
        assert!(error.details["supported"].as_array().unwrap().contains(&"Q4_1".into()));
    }
    assert!(gguf.tensor("v").is_ok());
    assert_eq!(gguf.tensor("w").err().unwrap().code, Code::ModelCorrupt);
    assert!(gguf.tensor_rows("v", 0..2).is_err());
}

/// The metadata of a tiny model with one entry changed, and what becomes of it as weights.
fn changed(key: &str, value: Option<Meta>, change: impl Fn(&mut Vec<TensorData>)) -> Result<(), Error> {
    let mut metadata = tiny().metadata().unwrap();
    metadata.retain(|(k, _)| k != key);
    metadata.extend(value.map(|value| (key.to_owned(), value)));
    let mut tensors = tiny().tensors().unwrap();
    change(&mut tensors);
    let gguf = read(gguf_bytes(&metadata, &tensors))?;
    let weights = gguf.weights()?;
    crate::Decoder::new(&weights as &dyn Weights, &candle_core::Device::Cpu).map(drop)
}

#[test]
fn settings_that_cannot_be_run_are_refused() {
    let code = |key: &str, value: Option<Meta>| changed(key, value, |_| {}).err().map(|error| error.code);
    assert_eq!(code("general.name", None), None);
    assert_eq!(code("llama.attention.head_count_kv", Some(Meta::I32s(vec![2]))), None);
    for (key, value) in [
        ("general.architecture", None),
        ("llama.block_count", None),
        ("llama.block_count", Some(Meta::U32(0))),
        ("llama.block_count", Some(Meta::U32(u32::MAX))),
        ("llama.block_count", Some(Meta::U32(2))),
        ("llama.embedding_length", Some(Meta::U32(31))),
        ("llama.attention.head_count", Some(Meta::U32(0))),
        ("llama.attention.head_count", Some(Meta::U32(3))),
        ("llama.attention.key_length", Some(Meta::U32(0))),
        ("llama.feed_forward_length", Some(Meta::U32(63))),
        ("llama.rope.freq_base", Some(Meta::F32(f32::NAN))),
        ("llama.rope.dimension_count", Some(Meta::U32(u32::MAX))),
        ("llama.rope.dimension_count", Some(Meta::U32(7))),
        ("llama.attention.layer_norm_rms_epsilon", Some(Meta::F32(-1.0))),
    ] {
        let got = code(key, value.clone());
        let expected = if key.ends_with("key_length") { Code::ModelUnsupported } else { Code::ModelCorrupt };
        assert_eq!(got, Some(expected), "{key} {value:?}");
    }
    for (key, value) in [
        ("general.architecture", Meta::Text("mamba".into())),
        ("llama.expert_count", Meta::U32(8)),
        ("split.count", Meta::U32(3)),
        ("llama.rope.scaling.type", Meta::Text("spiral".into())),
        ("llama.attention.head_count_kv", Meta::I32s(vec![2, 1])),
    ] {
        let error = changed(key, Some(value), |_| {}).unwrap_err();
        assert_eq!(error.code, Code::ModelUnsupported, "{key}: {error}");
        assert!(error.details["architecture"].is_string() && error.details["supported"].is_array(), "{error}");
    }
}

#[test]
fn parts_that_are_missing_misshapen_or_left_over_are_refused() {
    let find = |tensors: &mut Vec<TensorData>, name: &str| tensors.iter().position(|t| t.name == name).unwrap();
    let missing = changed("", None, |tensors| {
        let at = find(tensors, "blk.0.attn_v.weight");
        tensors.remove(at);
    });
    let misshapen = changed("", None, |tensors| {
        let at = find(tensors, "blk.0.attn_v.weight");
        tensors[at].dims.swap(0, 1);
    });
    for error in [missing.unwrap_err(), misshapen.unwrap_err()] {
        assert_eq!((error.code, &error.details["tensor"]), (Code::ModelCorrupt, &"blk.0.attn_v.weight".into()));
    }
    let left = changed("", None, |tensors| tensors.push(tensor("blk.0.ffn_up.bias", &[64], 0, 256))).unwrap_err();
    assert_eq!(left.code, Code::ModelUnsupported);
    changed("", None, |tensors| tensors.push(tensor("a.stranger", &[64], 99, 256))).unwrap();
}

#[test]
fn verify_finds_what_is_no_number() {
    for (kind, bytes, at) in [
        (0, 4, 0),
        (1, 2, 0),
        (30, 2, 0),
        (2, 18, 0),
        (3, 20, 2),
        (6, 22, 0),
        (7, 24, 2),
        (8, 34, 0),
        (10, 84, 82),
        (11, 110, 108),
        (12, 144, 2),
        (13, 176, 0),
        (14, 210, 208),
    ] {
        let values = TensorType(kind).layout().unwrap().0;
        let mut tensor = tensor("t", &[values * 3], kind, bytes * 3);
        let sound = read(file(vec![], std::slice::from_ref(&tensor))).unwrap();
        sound.scan(true, &mut |_, _| Ok(())).unwrap();
        match kind {
            0 => tensor.bytes[bytes..bytes * 2].copy_from_slice(&f32::NAN.to_le_bytes()),
            30 => tensor.bytes[bytes..bytes * 2].copy_from_slice(&0x7FC0u16.to_le_bytes()),
            _ => tensor.bytes[bytes + at..bytes + at + 2].copy_from_slice(&0x7E00u16.to_le_bytes()),
        }
        let rotten = read(file(vec![], &[tensor])).unwrap();
        rotten.scan(false, &mut |_, _| Ok(())).unwrap();
        let error = rotten.scan(true, &mut |_, _| Ok(())).unwrap_err();
        assert_eq!((error.code, &error.details["block"]), (Code::ModelCorrupt, &1.into()), "{kind}");
    }
}

/// Thousands of damaged headers: an answer or a coded error, never a panic, and whatever is answered
/// can be read to its end.
#[test]
fn damage_anywhere_is_an_error_or_harmless() {
    let metadata = tiny().metadata().unwrap();
    let tensors = tiny().tensors().unwrap();
    let whole = gguf_bytes(&metadata, &tensors);
    let header = whole.len() - tensors.iter().map(|t| t.bytes.len()).sum::<usize>();
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut refused, mut harmless) = (0, 0);
    for round in 0..4000 {
        let mut bytes = whole.clone();
        for _ in 0..=round % 3 {
            // Long texts fill most of the header; half of the damage goes where its structure is.
            let at = if random(2) == 0 { random(header) } else { random(1200) };
            match random(4) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = random(256) as u8,
                2 => bytes[at..at + 8].copy_from_slice(&(u64::MAX >> random(64)).to_le_bytes()),
                _ => drop(bytes.drain(at..at + 1 + random(16))),
            }
        }
        let outcome = read(bytes).and_then(|gguf| {
            gguf.metadata().for_each(|(_, value)| {
                if let Ok(Value::Array(array)) = value {
                    array.iter().for_each(drop);
                }
            });
            gguf.tensors().iter().for_each(|info| drop(gguf.tensor(&info.name)));
            gguf.scan(true, &mut |_, _| Ok(()))?;
            crate::Decoder::new(&gguf.weights()?, &candle_core::Device::Cpu).map(drop)
        });
        match outcome {
            Ok(()) => harmless += 1,
            Err(error) => {
                assert!(matches!(error.code, Code::ModelCorrupt | Code::ModelUnsupported), "{round}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 1000 && harmless > 100, "{refused} refused, {harmless} harmless");
}

#[test]
fn files_are_mapped_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    write_gguf(&path, &tiny().metadata().unwrap(), &tiny().tensors().unwrap()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.bytes(), std::fs::read(&path).unwrap());
    drop(gguf);
    std::fs::write(&path, "").unwrap();
    for (path, code) in [
        (path, Code::ModelCorrupt),
        (folder.path().into(), Code::ModelCorrupt),
        (folder.path().join("none"), Code::ModelNotFound),
    ] {
        let error = Gguf::open(&path).unwrap_err();
        assert_eq!((error.code, &error.details["path"]), (code, &path.display().to_string().into()), "{error}");
        assert!(error.message.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
    }
}
