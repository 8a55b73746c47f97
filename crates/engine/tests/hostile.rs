//! 200 damaged model files, the same ones every time: a coded error or a model, no panic, and no more
//! memory than the file's size explains, neither while the header is read nor while the model is loaded.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;

use peak_alloc::PeakAlloc;
use skimlm_core::Code;
use skimlm_engine::{LoadOptions, inspect, load};
use skimlm_models::weights::gguf::write::{Tiny, gguf_bytes};
use skimlm_models::weights::random::Sizes;
use skimlm_models::weights::safetensors::{Dtype, write::write_tiny};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const FILES: usize = 100;

/// A fixed sequence of numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// One to three kinds of damage: flipped bits, random bytes, huge numbers, holes, a cut, text.
fn damage(whole: &[u8], header: usize, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(header.min(bytes.len().saturating_sub(16)));
        match numbers.below(7) {
            0 => bytes[at] ^= 1 << numbers.below(8),
            1 => bytes[at] = numbers.below(256) as u8,
            2 => bytes[at..at + 8].copy_from_slice(&(u64::MAX >> numbers.below(64)).to_le_bytes()),
            3 => bytes[at..at + 4].copy_from_slice(&(u32::MAX >> numbers.below(32)).to_le_bytes()),
            4 => drop(bytes.drain(at..at + 1 + numbers.below(16))),
            5 => bytes.truncate(at + 16),
            _ => bytes[at] = b"09{}[]\",:-eE"[numbers.below(12)],
        }
    }
    bytes
}

/// Opens a model every way there is, and tells whether it could be.
fn read(path: &Path, file: usize) -> Result<(), Code> {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let seen = inspect(path).map(drop).map_err(|error| error.code);
    let taken = ALLOCATED.peak_usage() - before;
    // A name of a few bytes becomes entries of a hundred in the tables of a header.
    assert!(taken < 8 * file + (1 << 20), "{taken} bytes for a file of {file}");
    ALLOCATED.reset_peak_usage();
    let loaded = load(path, &LoadOptions::default(), &mut |_, _| Ok(())).map(drop).map_err(|error| error.code);
    let taken = ALLOCATED.peak_usage() - before;
    // Weights are mapped; what is made of the words takes more room than they do.
    assert!(taken < 32 * file + (8 << 20), "{taken} bytes for a file of {file} and its model");
    if let Err(code) = seen {
        assert_eq!(loaded, Err(code), "what a header says does not depend on who asks");
    }
    loaded
}

#[test]
fn damaged_files_are_refused_with_a_code() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = Tiny { sizes: Sizes { layers: 1, ..Tiny::default().sizes }, ..Tiny::default() };
    let mut numbers = Numbers(1);
    let (mut refused, mut harmless) = (0, 0);
    let mut count = |outcome: Result<(), Code>| match outcome {
        Ok(()) => harmless += 1,
        Err(Code::ModelCorrupt | Code::ModelUnsupported | Code::ModelNotFound | Code::Tokenizer) => refused += 1,
        // Damage can make sizes that only a larger machine could hold, and templates that are none.
        Err(Code::OutOfMemory | Code::ChatTemplate) => refused += 1,
        Err(other) => panic!("{other:?}"),
    };

    let tensors = tiny.tensors().unwrap();
    let whole = gguf_bytes(&tiny.metadata().unwrap(), &tensors);
    let header = whole.len() - tensors.iter().map(|tensor| tensor.bytes.len()).sum::<usize>();
    let path = folder.path().join("model.gguf");
    for _ in 0..FILES {
        let bytes = damage(&whole, header, &mut numbers);
        std::fs::write(&path, &bytes).unwrap();
        count(read(&path, bytes.len()));
    }

    let checkpoint = tempfile::tempdir().unwrap();
    write_tiny(checkpoint.path(), &tiny, Dtype::F32).unwrap();
    let path = checkpoint.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    for _ in 0..FILES {
        let bytes = damage(&whole, header, &mut numbers);
        std::fs::write(&path, &bytes).unwrap();
        count(read(checkpoint.path(), bytes.len()));
    }
    assert!(refused > 100 && harmless > 5, "{refused} refused, {harmless} harmless");
}
