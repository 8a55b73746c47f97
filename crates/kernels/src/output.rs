//! Results that several threads write at once.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use crate::rows;

/// `len` zeros, made on all threads where they are many.
pub(crate) fn zeros(len: usize) -> Vec<f32> {
    if !rows::many(len) {
        return vec![0.0; len];
    }
    let mut all = Vec::with_capacity(len);
    let room = &mut all.spare_capacity_mut()[..len];
    rows::each(room, 1, |_, piece| piece.fill(MaybeUninit::new(0.0)));
    // SAFETY: there is room for `len` numbers, and all of them have been written.
    #[allow(unsafe_code)]
    unsafe {
        all.set_len(len);
    }
    all
}

/// A row-major result, or a window of one, written by several threads in disjoint pieces. Rows and
/// columns are always those of the whole result.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    start: *mut f32,
    top: usize,
    left: usize,
    rows: usize,
    width: usize,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: who made it vouches that no two threads touch the same number.
#[allow(unsafe_code)]
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Rows of `width` numbers.
    ///
    /// # Safety
    /// A number that a thread reads or writes through this or a copy of it is touched by no other thread as long as
    /// any of them is in use.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn new(values: &'a mut [f32], width: usize) -> Self {
        // SAFETY: the caller's.
        unsafe { Self::window(values, 0, 0..width) }
    }

    /// The rows from `top` on and the columns `columns` of a result that is nowhere whole.
    ///
    /// # Safety
    /// As for [`Output::new`].
    #[allow(unsafe_code)]
    pub(crate) unsafe fn window(values: &'a mut [f32], top: usize, columns: Range<usize>) -> Self {
        let (width, left) = (columns.len(), columns.start);
        let rows = values.len() / width.max(1);
        Self { start: values.as_mut_ptr(), top, left, rows, width, of: PhantomData }
    }

    /// Where a number lies, counted from the start; checks that the `len` numbers from it on are there.
    #[inline(always)]
    fn at(self, row: usize, column: usize, len: usize) -> usize {
        let (row, column) = (row.wrapping_sub(self.top), column.wrapping_sub(self.left));
        assert!(row < self.rows && column <= self.width && len <= self.width - column);
        row * self.width + column
    }

    /// Writes one number.
    #[inline(always)]
    pub(crate) fn put(self, row: usize, column: usize, value: f32) {
        let at = self.at(row, column, 1);
        // SAFETY: in bounds; who made this vouches that no other thread touches the number.
        #[allow(unsafe_code)]
        unsafe {
            *self.start.add(at) = value;
        }
    }

    /// Adds to one number.
    #[inline(always)]
    pub(crate) fn add(self, row: usize, column: usize, value: f32) {
        let at = self.at(row, column, 1);
        // SAFETY: as in `put`.
        #[allow(unsafe_code)]
        unsafe {
            *self.start.add(at) += value;
        }
    }

    /// Part of a row.
    ///
    /// # Safety
    /// As long as the slice is in use nothing else, on this thread either, touches its numbers.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn row(self, row: usize, columns: Range<usize>) -> &'a mut [f32] {
        let at = self.at(row, columns.start, columns.len());
        // SAFETY: in bounds; the caller vouches for exclusivity.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), columns.len()) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn zeros_are_zeros_on_any_number_of_threads() {
        for count in [1, 3] {
            crate::threads::Threads::new(count).unwrap().install(|| {
                for len in [0, 5, crate::rows::SMALL, crate::rows::SMALL + (1 << 15) + 1] {
                    // What was there before must not show.
                    drop(vec![1f32; len]);
                    let all = super::zeros(len);
                    assert!(all.len() == len && all.iter().all(|&x| x == 0.0));
                }
            });
        }
    }
}
