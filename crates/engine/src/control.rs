use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use skimlm_core::{Code, Error, Result, Stage};

/// Rows that are computed at once unless a caller says otherwise: enough for what packing weights and entries costs to
/// be shared by many (8000 tokens take 0.94 of the time they take by 512), few enough for activations to stay small.
pub const DEFAULT_CHUNK: usize = 1024;

/// A flag that ends work between chunks, layers and tokens. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicU8>);

const RUNNING: u8 = 0;
const STOPPED: u8 = 1;
const ABORTED: u8 = 2;

impl Cancel {
    /// End the work and keep what there is. Does nothing after [`Cancel::abort`].
    pub fn stop(&self) {
        // A stop that loses against an abort changes nothing, so the failed exchange is the wanted outcome.
        let _ = self.0.compare_exchange(RUNNING, STOPPED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// End the work with an error.
    pub fn abort(&self) {
        self.0.store(ABORTED, Ordering::Release);
    }

    /// Whether the work should end, either way.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != RUNNING
    }

    /// Whether the work should end with an error.
    pub fn is_aborted(&self) -> bool {
        self.0.load(Ordering::Acquire) == ABORTED
    }

    /// Fails with [`Code::Cancelled`] once the work should end.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::new(Code::Cancelled, "the work was cancelled.")) } else { Ok(()) }
    }
}

/// How far a pass has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Which pass.
    pub stage: Stage,
    /// Rows done; a row that has passed half of the layers counts half.
    pub done: usize,
    /// Rows of the pass.
    pub total: usize,
}

/// What a walk obeys and reports to.
pub struct Control<'a> {
    /// Checked between chunks and layers.
    pub cancel: &'a Cancel,
    /// Called after every chunk of a prompt pass.
    pub progress: &'a mut dyn FnMut(Progress),
    /// Rows computed at once; bounds the memory of activations, never the result. Estimates count on [`DEFAULT_CHUNK`].
    pub chunk: usize,
    /// Positions still to come behind this pass: the tokens to be generated.
    pub headroom: usize,
}

impl Control<'_> {
    /// Positions of the whole text where it has come to the last of `positions`.
    pub(crate) fn length(&self, positions: &[u32]) -> usize {
        positions.last().map_or(0, |&p| p as usize + 1) + self.headroom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_is_a_stop_that_no_stop_takes_back() {
        let cancel = Cancel::default();
        let shared = cancel.clone();
        let state = || (shared.is_set(), shared.is_aborted(), shared.check().map_err(|error| error.code));
        assert_eq!(state(), (false, false, Ok(())));
        cancel.stop();
        assert_eq!(state(), (true, false, Err(Code::Cancelled)));
        cancel.abort();
        cancel.stop();
        assert_eq!(state(), (true, true, Err(Code::Cancelled)));
    }
}
