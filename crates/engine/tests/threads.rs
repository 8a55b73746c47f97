//! The threads of a process with one model. Alone in it, so that they can be counted.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use skimlm_engine::{LoadOptions, Worker};
use skimlm_models::weights::gguf::write::{Tiny, write_tiny};

/// Weights are brought to a smaller format on the threads that were asked for, not on one more a core.
#[test]
fn quantising_computes_on_the_models_threads() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny(&path, &Tiny::default()).unwrap();
    let before = threads();
    let options = LoadOptions { dtype: Some("q8_0".into()), threads: Some(1), ..LoadOptions::default() };
    let worker = Worker::load(path, options, |_, _| Ok(())).unwrap();
    assert_eq!(threads(), before + 1, "the model's own");
    drop(worker);
}
