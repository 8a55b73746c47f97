//! A generation as a pull stream.

use napi_derive::napi;

use crate::error::to_js;
use crate::events::Event;

/// A queued or running request. Dropping it ends the work.
#[napi]
pub struct Run {
    run: skimlm_engine::Run,
}

impl Run {
    pub(crate) fn new(run: skimlm_engine::Run) -> Self {
        Self { run }
    }
}

#[napi]
impl Run {
    /// All events that are ready, at least one; null after the last.
    #[napi]
    pub async fn next(&self) -> napi::Result<Option<Vec<Event>>> {
        match self.run.next().await {
            Some(events) => {
                events.map_err(to_js)?.into_iter().map(Event::from_engine).collect::<napi::Result<_>>().map(Some)
            }
            None => Ok(None),
        }
    }

    /// Ends the work and keeps the text.
    #[napi]
    pub fn cancel(&self) {
        self.run.cancel();
    }

    /// Ends the work with an error.
    #[napi]
    pub fn abort(&self) {
        self.run.abort();
    }
}
