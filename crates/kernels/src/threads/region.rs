//! One parallel region at a time, entered by whoever is awake.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Looks at the state before a thread sleeps: 100 to 400 microseconds.
const LOOKS: usize = 8000;

/// The state's lowest bits count the threads in a region beside the caller's.
const INSIDE: u64 = OPEN - 1;

/// Whether threads may still enter the region; its number is in the bits above.
const OPEN: u64 = 1 << 16;

/// What must be done in a region.
#[derive(Clone, Copy)]
struct Region {
    /// Borrowed from the caller of [`Shared::run`], who waits until nobody is inside.
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

pub(super) struct Shared {
    pub(super) count: usize,
    state: AtomicU64,
    /// Written by the caller while the region is closed and empty, read by those inside.
    region: UnsafeCell<Region>,
    /// The next task of the region.
    next: AtomicUsize,
    /// Whether a caller has the region.
    taken: AtomicBool,
    ending: AtomicBool,
    pub(super) asleep: AtomicUsize,
    bed: Mutex<()>,
    wake: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `region` is written only by the caller that took it, while nobody is inside, and read only
// inside; `state` orders the two. The closure behind it is `Sync`.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to a thread.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}

impl Shared {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count: count.max(1),
            state: AtomicU64::new(0),
            region: UnsafeCell::new(Region { task: &|_| (), tasks: 0 }),
            next: AtomicUsize::new(0),
            taken: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            bed: Mutex::new(()),
            wake: Condvar::new(),
            panic: Mutex::new(None),
        }
    }

    pub(super) fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.count == 1 || self.taken.swap(true, Acquire) {
            return (0..tasks).for_each(task);
        }
        // SAFETY: the same fat pointer with another lifetime. It is followed only inside the region,
        // which `close` ends before `task` goes out of scope, panic or not.
        #[allow(unsafe_code)]
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task) };
        let region = Region { task, tasks };
        // SAFETY: the region is closed, empty and ours.
        #[allow(unsafe_code)]
        unsafe {
            *self.region.get() = region;
        }
        self.next.store(0, Relaxed);
        let number = self.state.load(Relaxed) / (2 * OPEN) + 1;
        self.state.store((number * 2 * OPEN) | OPEN, SeqCst);
        if self.asleep.load(SeqCst) > 0 {
            // Who is about to sleep holds the lock until it does.
            drop(lock(&self.bed));
            self.wake.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(|| self.work(region)));
        let others = self.close();
        if let Some(panic) = own.err().or(others) {
            resume_unwind(panic);
        }
    }

    /// Ends the caller's region: nobody enters any more, and those inside have left. Answers the panic of one of them.
    fn close(&self) -> Option<Box<dyn Any + Send>> {
        // Nothing is begun any more should the caller's own task have panicked.
        self.next.fetch_max(usize::MAX / 2, Relaxed);
        self.state.fetch_and(!OPEN, AcqRel);
        let mut looks = 0;
        while self.state.load(Acquire) & INSIDE != 0 {
            looks += 1;
            // A thread that is still inside after so long has probably lost its core: give it ours.
            if looks < LOOKS { spin_loop() } else { std::thread::yield_now() }
        }
        // As long as the region is taken, what lies here is of its own tasks.
        let panic = lock(&self.panic).take();
        self.taken.store(false, Release);
        panic
    }

    /// Takes tasks as long as there are any.
    fn work(&self, region: Region) {
        loop {
            let i = self.next.fetch_add(1, Relaxed);
            if i >= region.tasks {
                return;
            }
            // SAFETY: this thread is inside the region, or its caller; the closure lives until both have left.
            #[allow(unsafe_code)]
            let task = unsafe { &*region.task };
            task(i);
        }
    }

    /// Lets the other threads end.
    pub(super) fn end(&self) {
        self.ending.store(true, SeqCst);
        drop(lock(&self.bed));
        self.wake.notify_all();
    }

    /// The life of one of the other threads.
    pub(super) fn serve(&self) {
        let mut last = 0;
        while let Some(state) = self.wait(last) {
            if self.state.compare_exchange(state, state + 1, AcqRel, Relaxed).is_err() {
                continue;
            }
            last = state / (2 * OPEN);
            // SAFETY: the exchange found the region open, so it stays as it is until we have left.
            #[allow(unsafe_code)]
            let region = unsafe { *self.region.get() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(region))) {
                self.next.store(region.tasks, Relaxed);
                *lock(&self.panic) = Some(panic);
            }
            self.state.fetch_sub(1, Release);
        }
    }

    /// The state as soon as a region other than `last` is open; none at the end.
    fn wait(&self, last: u64) -> Option<u64> {
        let look = || {
            let state = self.state.load(SeqCst);
            let open = state & OPEN != 0 && state / (2 * OPEN) != last;
            (open || self.ending.load(SeqCst)).then_some(state)
        };
        let mut seen = None;
        for _ in 0..LOOKS {
            seen = look();
            if seen.is_some() {
                break;
            }
            spin_loop();
        }
        if seen.is_none() {
            let mut bed = lock(&self.bed);
            self.asleep.fetch_add(1, SeqCst);
            seen = look();
            while seen.is_none() {
                bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
                seen = look();
            }
            self.asleep.fetch_sub(1, SeqCst);
        }
        seen.filter(|_| !self.ending.load(SeqCst))
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("count", &self.count).finish_non_exhaustive()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
