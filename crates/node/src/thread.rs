use skimlm_core::{Code, Error, Result};

/// Work on a thread of its own, which nobody waits for.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map(drop).map_err(|e| Error::new(Code::Internal, format!("the thread {name} did not start.")).caused_by(e))
}
