//! What can be known without loading a model.

use std::path::PathBuf;

use napi_derive::napi;
use skimlm_core::{Code, Error, Result};

use crate::error::{guarded, to_js};
use crate::json;

/// The header of a model as JSON; no weights are read.
#[napi]
pub async fn inspect(path: String) -> napi::Result<String> {
    let (sender, answer) = async_channel::bounded::<napi::Result<String>>(1);
    // Not libuv's pool: a slow disk would hold up the process's other file work.
    let read = move || {
        let answer = guarded(|| json::write(&skimlm_engine::inspect(&PathBuf::from(path))?));
        // Nobody waits any more if this fails.
        drop(sender.send_blocking(answer));
    };
    spawn(read).map_err(to_js)?;
    answer.recv().await.unwrap_or_else(|_| Err(to_js(Error::new(Code::Internal, "the reading thread ended."))))
}

/// The devices of this machine as JSON.
#[napi]
pub fn devices() -> napi::Result<String> {
    guarded(|| json::write(&skimlm_engine::devices()))
}

pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new().name("skimlm-load".into());
    builder
        .spawn(work)
        .map(drop)
        .map_err(|e| Error::new(Code::Internal, "a thread to load with did not start.").caused_by(e))
}
