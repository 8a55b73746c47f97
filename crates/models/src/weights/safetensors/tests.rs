use std::path::Path;

use safetensors::Dtype;
use skimlm_core::{Code, Error};

use super::write::{TensorData, safetensors_bytes, write_folder};
use super::{Folder, Words, header, write};
use crate::weights::Weights;
use crate::weights::random::Sizes;

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": 97, "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": [2, 3]}"#;

fn tensors() -> Vec<TensorData> {
    write::tensors(&Sizes { layers: 1, ..Sizes::default() }, Dtype::F32).unwrap()
}

fn open(folder: &Path) -> Result<(), Error> {
    let folder = Folder::open(folder)?;
    folder.scan(true, &mut |_, _| Ok(()))?;
    folder.words()?;
    let weights = folder.weights()?;
    crate::Decoder::new(&weights as &dyn Weights, &candle_core::Device::Cpu).map(drop)
}

/// The length of a header may look like the start of a page: `<` is 60.
#[test]
fn a_header_of_sixty_bytes_is_no_page() {
    let header = format!("{:60}", r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#);
    let file = [&60u64.to_le_bytes()[..], header.as_bytes(), &1f32.to_le_bytes()].concat();
    assert_eq!(header::parse(&file, 0).unwrap()[0].name, "a");
    let error = header::parse(b"<!-- gone --><html></html>", 0).unwrap_err();
    assert_eq!(error.details["looksLike"], "HTML");
}

/// Hundreds of damaged headers and settings: an answer or a coded error, never a panic, and whatever is
/// answered can be read to its end.
#[test]
fn damage_anywhere_is_an_error_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), CONFIG, &tensors(), 1).unwrap();
    open(folder.path()).unwrap();
    let weights = folder.path().join("model.safetensors");
    let settings = folder.path().join("config.json");
    let whole = std::fs::read(&weights).unwrap();
    let end = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let numbers =
        ["0", "-1", "1e99", "18446744073709551615", "9223372036854775807", "4294967296", "null", "\"\"", "[]"];
    let (mut refused, mut harmless) = (0, 0);
    for round in 0..1500 {
        // Every third file is a damaged config.json beside sound weights.
        let (path, sound, header) = if round % 3 == 2 {
            (&settings, CONFIG.as_bytes(), 0..CONFIG.len())
        } else {
            (&weights, &whole[..], 8..end)
        };
        let mut bytes = sound.to_vec();
        let at = header.start + random(header.len());
        match random(6) {
            0 => bytes[at] ^= 1 << random(8),
            1 => bytes[at] = random(256) as u8,
            2 => drop(bytes.drain(at..(at + 1 + random(16)).min(bytes.len()))),
            3 => bytes.truncate(at),
            4 if header.start == 8 => bytes[..8].copy_from_slice(&(u64::MAX >> random(64)).to_le_bytes()),
            // One number of the header becomes another.
            _ => {
                let digits = (at..header.end).find(|&i| bytes[i].is_ascii_digit());
                if let Some(start) = digits {
                    let stop = (start..header.end).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(header.end);
                    let number = numbers[random(numbers.len())].bytes();
                    // The header keeps its length where the number is no longer than its place.
                    let number: Vec<u8> = number.chain(std::iter::repeat(b' ')).take((stop - start).max(1)).collect();
                    let number = if random(2) == 0 { number } else { numbers[random(numbers.len())].bytes().collect() };
                    let change = number.len() as i64 - (stop - start) as i64;
                    bytes.splice(start..stop, number);
                    if header.start == 8 {
                        let length = (end as i64 - 8 + change) as u64;
                        bytes[..8].copy_from_slice(&length.to_le_bytes());
                    }
                }
            }
        }
        std::fs::write(path, &bytes).unwrap();
        match open(folder.path()) {
            Ok(()) => harmless += 1,
            Err(error) => {
                assert!(matches!(error.code, Code::ModelCorrupt | Code::ModelUnsupported), "{round}: {error}");
                refused += 1;
            }
        }
        std::fs::write(path, sound).unwrap();
    }
    assert!(refused > 700 && harmless > 20, "{refused} refused, {harmless} harmless");
}

fn parse(json: &str, data: usize) -> Result<Vec<super::TensorInfo>, Error> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend(vec![0; data]);
    header::parse(&bytes, 0)
}

#[test]
fn headers_that_lie_are_refused() {
    let one =
        |shape: &str, offsets: &str| format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    assert_eq!(parse(&one("[2,2]", "[0,16]"), 16).unwrap()[0].shape, [2, 2]);
    for (shape, offsets, data) in [
        ("[2,2]", "[0,16]", 15),
        ("[2,2]", "[0,16]", 17),
        ("[2,2]", "[4,20]", 20),
        ("[2,2]", "[16,0]", 16),
        ("[2,3]", "[0,16]", 16),
        ("[9223372036854775807,4]", "[0,16]", 16),
        ("[18446744073709551615]", "[0,16]", 16),
        ("[99999999999999999999]", "[0,16]", 16),
        ("[-1]", "[0,16]", 16),
    ] {
        let error = parse(&one(shape, offsets), data).unwrap_err();
        assert_eq!(error.code, Code::ModelCorrupt, "{shape} {offsets}: {error}");
    }
    // Tensors whose sizes add up to more than a number holds.
    let huge: Vec<String> = (0..8u64)
        .map(|i| {
            let size = 1u64 << 61;
            let end = (i + 1).saturating_mul(size);
            format!(r#""{i}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{end}]}}"#, end - i * size, i * size)
        })
        .collect();
    assert_eq!(parse(&format!("{{{}}}", huge.join(",")), 0).unwrap_err().code, Code::ModelCorrupt);
    // Nothing to read in a tensor without values, however wide its rows.
    let empty = parse(&one("[0,4611686018427387905]", "[0,0]"), 0).unwrap();
    assert_eq!(empty[0].elements, 0);
    for length in [u64::MAX, 1 << 40, 100_000_001, 3] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        assert_eq!(header::parse(&bytes, 0).unwrap_err().code, Code::ModelCorrupt);
    }
}

#[test]
fn a_tensor_without_values_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = tensors();
    all[0] = TensorData::new(&all[0].name, &[], &[0, 1 << 62], Dtype::F32);
    write_folder(folder.path(), CONFIG, &all, 1).unwrap();
    assert_eq!(open(folder.path()).unwrap_err().code, Code::ModelCorrupt);
}

#[test]
fn what_was_written_is_read() {
    let bytes = safetensors_bytes(&tensors()).unwrap();
    let infos = header::parse(&bytes, 5).unwrap();
    assert_eq!(infos.len(), tensors().len());
    for wanted in tensors() {
        let info = infos.iter().find(|info| info.name == wanted.name).unwrap();
        assert_eq!((&info.shape, info.kind, info.file), (&wanted.shape, wanted.kind, 5));
        assert_eq!(bytes[info.range.clone()], wanted.bytes);
    }
}

#[test]
fn the_files_beside_the_weights_tell_of_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_folder(path, CONFIG, &tensors(), 1).unwrap();
    let words = || Folder::open(path).unwrap().words().unwrap();
    let put = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    assert_eq!(words(), Words { bos: Some(1), ends: vec![2, 3], ..Words::default() });

    put("generation_config.json", r#"{"eos_token_id": [7, 2]}"#);
    assert_eq!(words().ends, [7, 2, 3]);

    let added = r#""added_tokens_decoder": {"5": {"content": "<s>"}, "3": {"content": "</s>"}}"#;
    let names = r#""bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "add_bos_token": true"#;
    put("tokenizer_config.json", &format!(r#"{{{added}, {names}, "chat_template": "one"}}"#));
    let all = words();
    assert_eq!((all.bos, all.add_bos, all.ends), (Some(5), Some(true), vec![3, 7, 2]));
    assert_eq!(all.chat_template.as_deref(), Some("one"));

    // Without the list the ids are in tokenizer.json.
    put(
        "tokenizer.json",
        r#"{"added_tokens": [{"id": 6, "content": "<s>"}, {"id": 8, "content": "</s>"}], "model": 1}"#,
    );
    let several = r#"[{"name": "tool_use", "template": "two"}, {"name": "default", "template": "three"}]"#;
    put("tokenizer_config.json", &format!(r#"{{{names}, "chat_template": {several}}}"#));
    let all = words();
    assert_eq!((all.bos, all.ends, all.tokenizer), (Some(6), vec![8, 7, 2, 3], Some(path.join("tokenizer.json"))));
    assert_eq!(all.chat_template.as_deref(), Some("three"));

    // A tokenizer that names no first token has none.
    put("tokenizer_config.json", r#"{"bos_token": null, "eos_token": "</s>"}"#);
    assert_eq!((words().bos, words().chat_template), (None, None));
    put("chat_template.jinja", "four");
    assert_eq!(words().chat_template.as_deref(), Some("four"));

    put("tokenizer_config.json", "{");
    let error = Folder::open(path).unwrap().words().unwrap_err();
    assert!(error.code == Code::ModelCorrupt && error.message.contains("tokenizer_config.json"), "{error}");
    std::fs::write(path.join("chat_template.jinja"), [0xFF]).unwrap();
    put("tokenizer_config.json", "{}");
    assert_eq!(Folder::open(path).unwrap().words().unwrap_err().code, Code::ModelCorrupt);
}
