//! A model on a thread of its own: requests queue up, events stream out.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use async_channel::{Receiver, Sender};
use skimlm_core::{Code, Error, Result, panic_text};
use skimlm_kernels::threads::Threads;
use skimlm_policies::Context;

use crate::control::Cancel;
use crate::device::DeviceInfo;
use crate::generate::generate;
use crate::load::{LoadOptions, Loaded, ModelInfo, load, start_threads};
use crate::output::Event;
use crate::request::Request;
use crate::text::{ChatTemplate, Tokenizer, named_tokens};

/// Events that may wait for a slow reader before the generation waits for it.
const EVENTS: usize = 64;
/// Requests that may wait unless the load options say otherwise.
const QUEUE: usize = 256;

/// A loaded model and its inference thread. Requests are served one at a time, in order.
///
/// Dropping it disposes of it.
pub struct Worker {
    shared: Arc<Shared>,
    gone: Receiver<()>,
    info: ModelInfo,
    device: DeviceInfo,
    tokenizer: Arc<Tokenizer>,
    template: Option<Arc<ChatTemplate>>,
    max_queue: usize,
}

#[derive(Default)]
struct Shared {
    disposed: AtomicBool,
    poisoned: AtomicBool,
    queue: Mutex<Queue>,
    /// Something has changed in the queue.
    changed: Condvar,
}

/// What the thread has to do.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    running: Option<Arc<RunState>>,
    /// Whether work goes on; behind it the last event of what runs may wait to be read.
    busy: bool,
    /// Nothing more comes.
    closed: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, which runs from here on, once there is one; none after the end.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        loop {
            if let Some(job) = queue.waiting.pop_front() {
                queue.running = Some(Arc::clone(&job.run));
                queue.busy = true;
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a model is asked to do.
enum Task {
    Generate(Box<Request>),
    Study(Box<Study>),
}

/// Longer work on the model's own thread.
type Study = dyn FnOnce(&Loaded, &Cancel) -> Result<()> + Send;

struct Job {
    task: Task,
    run: Arc<RunState>,
    queued: Instant,
}

struct RunState {
    cancel: Cancel,
    events: Sender<Result<Event>>,
}

impl Worker {
    /// Loads a model on a new thread and waits for it. `progress` is told bytes done and bytes in all; its error ends the
    /// loading.
    ///
    /// Errors as in [`load`], `ERR_INVALID_ARG` for a number of threads that cannot be, and `ERR_INTERNAL` if a thread
    /// does not start or panics.
    pub fn load(
        path: PathBuf,
        options: LoadOptions,
        mut progress: impl FnMut(u64, u64) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (gone_sender, gone) = async_channel::bounded(1);
        let (ready_sender, ready) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::default());
        let max_queue = options.max_queue.unwrap_or(QUEUE);
        let threads = start_threads(options.threads)?;
        let serve = {
            let shared = Arc::clone(&shared);
            move || {
                // Held until everything below is dropped: its end tells that the memory is free.
                let _gone = gone_sender;
                let opened =
                    catch_unwind(AssertUnwindSafe(|| threads.install(|| load(&path, &options, &mut progress))));
                match opened.unwrap_or_else(|panic| Err(internal(&*panic))) {
                    Ok(loaded) => {
                        let face = (
                            loaded.info.clone(),
                            loaded.device.clone(),
                            Arc::clone(&loaded.tokenizer),
                            loaded.template.clone(),
                        );
                        // Nobody waits any more only if the loading thread died, which ends this one too.
                        if ready_sender.send(Ok(face)).is_ok() {
                            serve(&loaded, &threads, &shared);
                        }
                    }
                    Err(error) => drop(ready_sender.send(Err(error))),
                }
            }
        };
        std::thread::Builder::new()
            .name("skimlm".into())
            .spawn(serve)
            .map_err(|e| Error::new(Code::Internal, "the inference thread did not start.").caused_by(e))?;
        let (info, device, tokenizer, template) =
            ready.recv().map_err(|_| Error::new(Code::Internal, "the inference thread ended while loading."))??;
        Ok(Self { shared, gone, info, device, tokenizer, template, max_queue })
    }

    /// What is known of the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Where it runs.
    pub fn device(&self) -> &DeviceInfo {
        &self.device
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Its chat template.
    pub fn template(&self) -> Option<&Arc<ChatTemplate>> {
        self.template.as_ref()
    }

    /// Refuses a request whose policy cannot work on this model: `ERR_INVALID_ARG`, or `ERR_POLICY_UNSUPPORTED` where no
    /// value of its options could.
    pub fn check(&self, request: &Request) -> Result<()> {
        let tokens = named_tokens(&request.policy, &self.tokenizer)?;
        let forced = request.force_indices.as_deref();
        let context = Context::new(&self.info.file.shape, self.info.file.default_filter_layer);
        request.policy.check(&Context { forced, tokens: &tokens, ..context })
    }

    /// Queues a request.
    ///
    /// `ERR_INVALID_ARG` or `ERR_POLICY_UNSUPPORTED` if its policy cannot work on this model, `ERR_DISPOSED`, `ERR_BUSY`
    /// if too many wait, `ERR_INTERNAL` after a panic. Everything that depends on data comes out of [`Run::next`].
    pub fn start(&self, request: Request) -> Result<Run> {
        self.check(&request)?;
        self.queue(Task::Generate(Box::new(request)))
    }

    /// Queues work that uses the model directly, such as an evaluation. Its own errors come out of [`Run::next`],
    /// which otherwise ends without an event; what it has to tell it sends by means of its own. `ERR_DISPOSED`, `ERR_BUSY`
    /// and `ERR_INTERNAL` as in [`Worker::start`].
    pub fn study(&self, study: impl FnOnce(&Loaded, &Cancel) -> Result<()> + Send + 'static) -> Result<Run> {
        self.queue(Task::Study(Box::new(study)))
    }

    fn queue(&self, task: Task) -> Result<Run> {
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(poisoned());
        }
        let mut queue = self.shared.queue();
        if queue.closed {
            return Err(disposed());
        }
        // Whoever has left takes nobody's place.
        queue.waiting.retain(|job| !job.run.events.is_closed());
        // One runs, the others wait.
        let open = queue.waiting.len() + usize::from(queue.busy);
        if open > self.max_queue {
            let message =
                format!("{} requests are waiting, the most is {}; try again later.", open - 1, self.max_queue);
            return Err(Error::new(Code::Busy, message).with("waiting", open - 1).with("limit", self.max_queue));
        }
        let (sender, events) = async_channel::bounded(EVENTS);
        let run = Arc::new(RunState { cancel: Cancel::default(), events: sender });
        let cancel = run.cancel.clone();
        queue.waiting.push_back(Job { task, run, queued: Instant::now() });
        drop(queue);
        self.shared.changed.notify_one();
        Ok(Run { events, cancel, shared: Arc::clone(&self.shared), failed: Mutex::new(None) })
    }

    /// Ends all requests and frees the model. The receiver closes when the memory is free. Doing it
    /// again changes nothing.
    pub fn dispose(&self) -> Receiver<()> {
        self.shared.disposed.store(true, Ordering::Release);
        let mut queue = self.shared.queue();
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.waiting);
        for run in waiting.iter().map(|job| &job.run).chain(&queue.running) {
            run.cancel.abort();
            // Wakes a generation that waits for its reader; the reader learns why from `Run::next`.
            run.events.close();
        }
        drop(queue);
        self.shared.changed.notify_one();
        self.gone.clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.dispose());
    }
}

fn disposed() -> Error {
    Error::new(Code::Disposed, "the model has been disposed of; load it again.")
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the request was cancelled.")
}

fn poisoned() -> Error {
    Error::new(Code::Internal, "an earlier request on this model failed inside; load the model again.")
}

fn internal(panic: &(dyn std::any::Any + Send)) -> Error {
    let what = panic_text(panic);
    Error::new(Code::Internal, format!("skimlm failed inside ({what}); please report it. Load the model again."))
}

fn serve(loaded: &Loaded, threads: &Threads, shared: &Shared) {
    while let Some(Job { task, run, queued }) = shared.next() {
        let mut emit = |event: Event| match event {
            // Progress is worth nothing later, so a slow reader does not hold up the prompt.
            Event::Prefill { .. } => drop(run.events.try_send(Ok(event))),
            event => {
                if run.events.send_blocking(Ok(event)).is_err() {
                    run.cancel.stop();
                }
            }
        };
        let result = if shared.poisoned.load(Ordering::Acquire) {
            Err(poisoned())
        } else if run.cancel.is_aborted() {
            Err(cancelled())
        } else {
            let work = AssertUnwindSafe(|| {
                threads.install(|| match task {
                    Task::Generate(request) => {
                        generate(loaded, &request, &run.cancel, queued.elapsed(), &mut emit).map(Some)
                    }
                    Task::Study(study) => study(loaded, &run.cancel).map(|()| None),
                })
            });
            catch_unwind(work).unwrap_or_else(|panic| {
                shared.poisoned.store(true, Ordering::Release);
                Err(internal(&*panic))
            })
        };
        shared.queue().busy = false;
        if let Some(last) = result.map(|outcome| outcome.map(|o| Event::Finish(Box::new(o)))).transpose() {
            // Nobody reads any more if this fails.
            drop(run.events.send_blocking(last));
        }
        run.events.close();
    }
}

/// A request's events. Dropping it stops the work.
pub struct Run {
    events: Receiver<Result<Event>>,
    cancel: Cancel,
    shared: Arc<Shared>,
    /// An error that came behind events of the same batch: they go first.
    failed: Mutex<Option<Error>>,
}

impl Run {
    /// All events that are ready, at least one; none after the last. An error ends the run.
    pub async fn next(&self) -> Option<Result<Vec<Event>>> {
        let first = self.events.recv().await;
        self.batch(first.ok())
    }

    /// [`Run::next`] for callers without an executor, with the same errors.
    pub fn next_blocking(&self) -> Option<Result<Vec<Event>>> {
        self.batch(self.events.recv_blocking().ok())
    }

    /// End the work and keep the text.
    pub fn cancel(&self) {
        self.cancel.stop();
    }

    /// End the work with [`Code::Cancelled`]. Events that are ready may still be read.
    pub fn abort(&self) {
        self.cancel.abort();
        // Wakes a generation that waits for its reader.
        self.events.close();
    }

    fn batch(&self, first: Option<Result<Event>>) -> Option<Result<Vec<Event>>> {
        if self.shared.disposed.load(Ordering::Acquire) && !matches!(first, Some(Ok(Event::Finish(_)))) {
            return Some(Err(disposed()));
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed.take() {
            return Some(Err(error));
        }
        let mut events = match first {
            Some(Ok(event)) => vec![event],
            Some(Err(error)) => return Some(Err(error)),
            None if self.cancel.is_aborted() => return Some(Err(cancelled())),
            None => return None,
        };
        while let Ok(next) = self.events.try_recv() {
            match next {
                Ok(event) => events.push(event),
                Err(error) => {
                    *failed = Some(error);
                    break;
                }
            }
        }
        Some(Ok(events))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.cancel.stop();
        self.events.close();
    }
}
