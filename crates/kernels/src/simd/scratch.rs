//! Working memory that a thread keeps between calls.

use std::cell::RefCell;

/// One cache line of numbers.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers on a cache-line boundary: a vector never straddles two lines.
#[derive(Default)]
pub(crate) struct Scratch(Vec<Line>);

impl Scratch {
    /// `len` numbers with whatever an earlier use left in them.
    pub(crate) fn take(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        &mut bytemuck::cast_slice_mut(&mut self.0)[..len]
    }

    /// Runs `work` with memory that this thread prepares for all threads of a call. Not the same as
    /// [`Scratch::with`], which the tasks of the call use on this thread meanwhile.
    pub(crate) fn shared<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        thread_local!(static KEPT: RefCell<Scratch> = RefCell::default());
        Self::borrow(&KEPT, work)
    }

    /// Runs `work` with this thread's scratch. A nested use on the same thread gets a fresh one.
    pub(crate) fn with<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        thread_local!(static KEPT: RefCell<Scratch> = RefCell::default());
        Self::borrow(&KEPT, work)
    }

    /// Runs `work` with memory of this thread that may be in use while [`Scratch::with`] is.
    pub(crate) fn beside<R>(work: impl FnOnce(&mut Self) -> R) -> R {
        thread_local!(static KEPT: RefCell<Scratch> = RefCell::default());
        Self::borrow(&KEPT, work)
    }

    fn borrow<R>(kept: &'static std::thread::LocalKey<RefCell<Self>>, work: impl FnOnce(&mut Self) -> R) -> R {
        let mut scratch = kept.take();
        let result = work(&mut scratch);
        kept.set(scratch);
        result
    }
}
