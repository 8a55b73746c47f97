//! A model on its way into memory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_channel::{Receiver, bounded};
use napi::Env;
use napi_derive::napi;
use skimlm_core::{Code, Error, Result};
use skimlm_engine::{LoadOptions, Worker};

use crate::error::{guarded, to_js};
use crate::json;
use crate::model::Model;
use crate::thread::spawn;

/// What the environment's end must stop.
#[derive(Default)]
struct Leash {
    cancelled: AtomicBool,
    worker: Mutex<Weak<Worker>>,
}

/// Pull `progress` until it is null, then ask for the `model`.
#[napi]
pub struct Loading {
    progress: Receiver<(u64, u64)>,
    loaded: Receiver<Result<Arc<Worker>>>,
    leash: Arc<Leash>,
}

/// Refuses options that no model can be loaded with; `options` is JSON.
#[napi]
pub fn check_load(options: String) -> napi::Result<()> {
    guarded(|| json::read::<LoadOptions>(&options, "")?.check())
}

/// Starts to load a model; `options` is JSON.
#[napi]
pub fn load(env: Env, path: String, options: String) -> napi::Result<Loading> {
    let leash = Arc::new(Leash::default());
    let loading = guarded(|| start(path, &options, &leash))?;
    // A worker thread may end at any time; its model must not outlive it.
    env.add_env_cleanup_hook(leash, |leash| {
        leash.cancelled.store(true, Ordering::Release);
        let worker = leash.worker.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(worker) = worker {
            // The receiver closes when the inference thread is done, which is all that is waited for.
            let _ = worker.dispose().recv_blocking();
        }
    })?;
    Ok(loading)
}

fn start(path: String, options: &str, leash: &Arc<Leash>) -> Result<Loading> {
    let options = json::read(options, "")?;
    let (news, progress) = bounded(1);
    let (done, loaded) = bounded(1);
    let (told, ended) = (Arc::clone(leash), news.clone());
    let report = move |bytes: u64, all: u64| {
        if told.cancelled.load(Ordering::Acquire) {
            return Err(Error::new(Code::Cancelled, "the loading was cancelled."));
        }
        // Only the latest state matters; nobody listens if this fails.
        let _ = news.force_send((bytes, all));
        Ok(())
    };
    let holder = Arc::clone(leash);
    spawn("skimlm-load", move || {
        let worker = Worker::load(PathBuf::from(path), options, report).map(Arc::new);
        if let Ok(worker) = &worker {
            *holder.worker.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(worker);
        }
        // The worker keeps `report` for as long as it lives.
        ended.close();
        drop(done.send_blocking(worker));
    })?;
    Ok(Loading { progress, loaded, leash: Arc::clone(leash) })
}

#[napi]
impl Loading {
    /// `[done, total]` bytes once there is news; null when the loading has ended.
    #[napi]
    pub async fn progress(&self) -> Option<Vec<f64>> {
        self.progress.recv().await.ok().map(|(done, total)| vec![done as f64, total as f64])
    }

    /// The loaded model; to be asked for once.
    #[napi]
    pub async fn model(&self) -> napi::Result<Model> {
        let ended = || Error::new(Code::Internal, "the loading thread ended.");
        let worker = self.loaded.recv().await.unwrap_or_else(|_| Err(ended())).map_err(to_js)?;
        Ok(Model { worker })
    }

    /// Ends the loading: `model` rejects, or nobody asks for it and it is freed.
    #[napi]
    pub fn cancel(&self) {
        self.leash.cancelled.store(true, Ordering::Release);
        self.loaded.close();
    }
}
