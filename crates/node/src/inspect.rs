//! What can be known without loading a model.

use std::path::PathBuf;

use napi_derive::napi;
use serde_json::Value;
use skimlm_core::{Code, Error, Result};
use skimlm_engine::MemoryNeed;
use skimlm_kernels::Level;

use crate::error::{guarded, to_js};
use crate::json;
use crate::thread::spawn;

/// The header of a model as JSON; no weights are read.
#[napi]
pub async fn inspect(path: String) -> napi::Result<String> {
    aside(move || json::write(&skimlm_engine::inspect(&PathBuf::from(path))?)).await
}

/// What requests take in memory, one estimate a need: lists as JSON. No weights are read.
#[napi]
pub async fn estimate_memory(path: String, needs: String) -> napi::Result<String> {
    let needs = guarded(|| {
        let needs: Vec<Value> = json::read(&needs, "")?;
        needs.iter().map(MemoryNeed::parse).collect::<Result<Vec<_>>>()
    })?;
    aside(move || json::write(&skimlm_engine::estimate_memory(&PathBuf::from(path), &needs)?)).await
}

/// Reads files on a thread of its own, not of libuv's pool: a slow disk would hold up the process's
/// other file work.
async fn aside(read: impl FnOnce() -> Result<String> + Send + 'static) -> napi::Result<String> {
    let (sender, answer) = async_channel::bounded::<napi::Result<String>>(1);
    // Nobody waits any more if the sending fails.
    spawn("skimlm-inspect", move || drop(sender.send_blocking(guarded(read)))).map_err(to_js)?;
    answer.recv().await.unwrap_or_else(|_| Err(to_js(Error::new(Code::Internal, "the reading thread ended."))))
}

/// What the CPU's kernels compute with, as JSON: the level in use, those this processor has, and its instruction sets that
/// matter to them. An error where
/// `SKIMLM_KERNELS` asks for what is not there.
#[napi]
pub fn kernel_levels() -> napi::Result<String> {
    guarded(|| {
        let present: Vec<_> = Level::present().into_iter().map(Level::name).collect();
        let (level, features) = (skimlm_kernels::level()?.name(), skimlm_kernels::features());
        json::write(&serde_json::json!({ "level": level, "present": present, "features": features }))
    })
}

/// The devices of this machine as JSON. `no_gpus` is why a binary for the CPU was taken, if one was.
#[napi]
pub fn devices(no_gpus: Option<String>) -> napi::Result<String> {
    guarded(|| json::write(&skimlm_engine::devices(no_gpus.as_deref())))
}
