use std::path::Path;

use skimlm_core::{Code, Model};

use super::{inspect, open, walk};
use crate::weights::gguf::Gguf;
use crate::weights::gguf::write::{Meta, TensorData, Tiny, write_gguf};
use crate::weights::random::golden_ids;

/// A tiny model split as `llama-gguf-split` does: the settings in the first part, the numbers in each.
fn write_split(folder: &Path, parts: usize, promised: usize) -> Vec<TensorData> {
    let tiny = Tiny::default();
    let tensors = tiny.tensors().unwrap();
    let chunk = tensors.len().div_ceil(parts);
    for part in 0..parts {
        let mut metadata = if part == 0 { tiny.metadata().unwrap() } else { Vec::new() };
        metadata.push(("split.no".into(), Meta::U32(part as u32)));
        metadata.push(("split.count".into(), Meta::U32(parts as u32)));
        metadata.push(("split.tensors.count".into(), Meta::U32(promised as u32)));
        let held = tensors.chunks(chunk).nth(part).unwrap();
        write_gguf(&folder.join(name(part, parts)), &metadata, held).unwrap();
    }
    tensors
}

fn name(part: usize, parts: usize) -> String {
    format!("tiny-{:05}-of-{parts:05}.gguf", part + 1)
}

#[test]
fn the_parts_of_a_split_model_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = write_split(folder.path(), 3, Tiny::default().tensors().unwrap().len());
    let whole = tempfile::tempdir().unwrap();
    write_gguf(&whole.path().join("tiny.gguf"), &Tiny::default().metadata().unwrap(), &tensors).unwrap();
    let expected = open(whole.path()).unwrap();
    let ids = golden_ids(20, 97);
    // By the folder, by the first part, by another part.
    for path in [folder.path().to_owned(), folder.path().join(name(0, 3)), folder.path().join(name(2, 3))] {
        let opened = open(&path).unwrap();
        assert_eq!(opened.model.shape(), expected.model.shape());
        assert_eq!(walk(&opened.model, &ids).0, walk(&expected.model, &ids).0);
        assert_eq!(inspect(&path).unwrap(), inspect(whole.path()).unwrap());
    }
    let gguf = Gguf::open(&folder.path().join(name(1, 3))).unwrap();
    assert_eq!(gguf.get_str("general.architecture").unwrap(), Some("llama"));
    gguf.scan(true, &mut |_, _| Ok(())).unwrap();
}

#[test]
fn missing_parts_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    write_split(folder.path(), 4, Tiny::default().tensors().unwrap().len());
    for part in [1, 3] {
        std::fs::remove_file(folder.path().join(name(part, 4))).unwrap();
    }
    for path in [folder.path().to_owned(), folder.path().join(name(2, 4))] {
        let error = inspect(&path).unwrap_err();
        assert_eq!(error.code, Code::ModelNotFound, "{error}");
        assert_eq!(error.details["missing"], serde_json::json!([name(1, 4), name(3, 4)]));
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let count = Tiny::default().tensors().unwrap().len();
    let folder = tempfile::tempdir().unwrap();
    write_split(folder.path(), 3, count + 1);
    let error = inspect(folder.path()).unwrap_err();
    assert!(error.code == Code::ModelCorrupt && error.message.contains("promises"), "{error}");

    write_split(folder.path(), 3, count);
    std::fs::copy(folder.path().join(name(1, 3)), folder.path().join(name(2, 3))).unwrap();
    let error = inspect(folder.path()).unwrap_err();
    assert!(error.code == Code::ModelCorrupt && error.message.contains("part 2 of 3"), "{error}");

    write_split(folder.path(), 3, count);
    let lone = folder.path().join("renamed.gguf");
    std::fs::copy(folder.path().join(name(0, 3)), &lone).unwrap();
    let error = inspect(&lone).unwrap_err();
    assert_eq!((error.code, &error.details["parts"]), (Code::ModelNotFound, &3.into()), "{error}");
}

#[test]
fn names_of_parts() {
    use crate::weights::gguf::part_of;
    assert_eq!(part_of("a-b-00002-of-00003.gguf"), Some(("a-b", 2, 3)));
    for other in ["a.gguf", "a-1-of-3.gguf", "a-00001-of-00003.bin", "00001-of-00003.gguf", "a-0000x-of-00003.gguf"] {
        assert_eq!(part_of(other), None, "{other}");
    }
}
