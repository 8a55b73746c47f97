//! Work that uses a model for long: evaluations and calibrations.

use std::collections::HashMap;

use async_channel::{Receiver, Sender, unbounded};
use napi_derive::napi;
use serde::Serialize;
use skimlm_eval::calibrate::{CalibrationPlan, calibrate};
use skimlm_eval::run::{Plan, run};

use crate::error::{guarded, to_js};
use crate::json;
use crate::model::Model;

/// Queued or running work. Dropping it stops the work.
#[napi]
pub struct Study {
    run: skimlm_engine::Run,
    news: Receiver<String>,
}

#[napi]
impl Study {
    /// The next news as JSON, `{ progress }` or at last `{ result }`; null at the end.
    #[napi]
    pub async fn next(&self) -> napi::Result<Option<String>> {
        if let Ok(news) = self.news.recv().await {
            return Ok(Some(news));
        }
        match self.run.next().await {
            Some(Err(error)) => Err(to_js(error)),
            _ => Ok(None),
        }
    }

    /// Ends the work and keeps what is done.
    #[napi]
    pub fn cancel(&self) {
        self.run.cancel();
    }
}

#[napi]
impl Model {
    /// Evaluates policies; `plan` is JSON.
    #[napi]
    pub fn evaluate(&self, plan: String) -> napi::Result<Study> {
        guarded(|| {
            let plan: Plan = json::read(&plan, "plan")?;
            let (sender, news) = unbounded();
            let work = move |loaded: &skimlm_engine::Loaded, cancel: &skimlm_engine::Cancel| {
                let summary = run(&plan, loaded, cancel, &mut |p| tell(&sender, "progress", p))?;
                tell(&sender, "result", summary);
                Ok(())
            };
            Ok(Study { run: self.worker.study(work)?, news })
        })
    }

    /// Makes a profile of the model; `plan` is JSON.
    #[napi]
    pub fn calibrate(&self, plan: String) -> napi::Result<Study> {
        guarded(|| {
            let plan: CalibrationPlan = json::read(&plan, "plan")?;
            let (sender, news) = unbounded();
            let work = move |loaded: &skimlm_engine::Loaded, cancel: &skimlm_engine::Cancel| {
                let profile = calibrate(&plan, loaded, cancel, &mut |p| tell(&sender, "progress", p))?;
                tell(&sender, "result", profile);
                Ok(())
            };
            Ok(Study { run: self.worker.study(work)?, news })
        })
    }
}

fn tell(listener: &Sender<String>, what: &str, news: impl Serialize) {
    if let Ok(text) = json::write(&HashMap::from([(what, news)])) {
        // Nobody listens any more if this fails.
        drop(listener.send_blocking(text));
    }
}
