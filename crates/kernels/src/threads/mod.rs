//! Threads that share the work of the kernels.
//!
//! A prompt is thousands of parallel regions of a millisecond or less with a little serial work between
//! them. A thread that sleeps through such a gap wakes up too late for the next region (on a virtual
//! machine by a tenth of a millisecond and more), and one whose core is taken away holds up all others
//! if the work was dealt out beforehand. So tasks come from a shared counter, threads that are late find
//! the region closed and do not count, and waiting is spinning for a moment before it is sleeping.

mod region;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use rayon::prelude::*;

use region::{Shared, lock};

thread_local! {
    /// The threads that the kernels of this thread compute on, if not rayon's.
    static HERE: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Threads for the kernels that are called inside [`Threads::install`].
///
/// Kernels called elsewhere use rayon's global pool.
#[derive(Debug)]
pub struct Threads {
    shared: Arc<Shared>,
    others: Vec<JoinHandle<()>>,
}

impl Threads {
    /// `count` threads, of which the caller's is one; 0 counts as 1.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let mut threads = Self { shared: Arc::new(Shared::new(count)), others: Vec::new() };
        for i in 1..count {
            let shared = threads.shared.clone();
            let thread = Builder::new().name(format!("skimlm-{i}")).spawn(move || {
                HERE.set(Some(shared.clone()));
                shared.serve();
            })?;
            threads.others.push(thread);
        }
        Ok(threads)
    }

    /// Runs `work` on this thread; kernels in it compute on these threads.
    pub fn install<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<Arc<Shared>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                HERE.replace(self.0.take());
            }
        }
        let _restore = Restore(HERE.replace(Some(self.shared.clone())));
        work()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.end();
        // A thread ends by a panic only in `serve` itself, which has nothing to clean up.
        self.others.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Threads that [`each`] uses here, unless they have another region.
pub(crate) fn count() -> usize {
    HERE.with_borrow(|here| here.as_ref().map_or_else(rayon::current_num_threads, |shared| shared.count))
}

/// Does `work` for the numbers below `tasks`: on all threads if `parallel`, each as soon as one is free, so that
/// long tasks should come first. Otherwise, and as long as these [`Threads`] have another region (inside its tasks, or
/// beside it), everything is done on this thread.
pub(crate) fn each(parallel: bool, tasks: usize, work: impl Fn(usize) + Sync) {
    if !parallel || tasks < 2 {
        return (0..tasks).for_each(work);
    }
    match HERE.with_borrow(Clone::clone) {
        Some(shared) => shared.run(tasks, &work),
        None => (0..tasks).into_par_iter().with_max_len(1).for_each(&work),
    }
}

/// [`each`] for items that a task takes as its own.
pub(crate) fn each_of<T: Send>(parallel: bool, items: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    if !parallel {
        return items.into_iter().for_each(work);
    }
    let items: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    each(true, items.len(), |i| {
        let item = lock(&items[i]).take();
        item.into_iter().for_each(&work);
    });
}

/// Does `work` for each item, which a task takes as its own: if `parallel` on the threads of the [`Threads`] installed
/// here, else of rayon's pool, each as soon as one is free; otherwise, and as long as these [`Threads`] have another
/// region, on this thread. After a failure no task is begun; one of the errors is the answer.
pub fn try_each_of<T: Send, E: Send>(
    parallel: bool,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if !parallel {
        return items.into_iter().try_for_each(work);
    }
    let (failed, first) = (AtomicBool::new(false), Mutex::new(None));
    each_of(true, items, |item| {
        if failed.load(Relaxed) {
            return;
        }
        if let Err(error) = work(item) {
            failed.store(true, Relaxed);
            *lock(&first) = Some(error);
        }
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
