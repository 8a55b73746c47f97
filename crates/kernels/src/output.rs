//! Results that several threads write at once.

use std::ops::Range;

/// A row-major result, written by several threads in disjoint pieces.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    start: *mut f32,
    rows: usize,
    width: usize,
}

// SAFETY: the pieces are disjoint, and no thread reads what another writes.
#[allow(unsafe_code)]
unsafe impl Send for Output {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Output {}

impl Output {
    /// Rows of `width` numbers; `values` must outlive every use.
    pub(crate) fn new(values: &mut [f32], width: usize) -> Self {
        Self { start: values.as_mut_ptr(), rows: values.len() / width.max(1), width }
    }

    /// Writes one number.
    #[inline(always)]
    pub(crate) fn put(self, row: usize, column: usize, value: f32) {
        assert!(row < self.rows && column < self.width);
        // SAFETY: in bounds; the pieces are disjoint, so nobody else writes here.
        #[allow(unsafe_code)]
        unsafe {
            *self.start.add(row * self.width + column) = value;
        }
    }

    /// Adds to one number.
    #[inline(always)]
    pub(crate) fn add(self, row: usize, column: usize, value: f32) {
        assert!(row < self.rows && column < self.width);
        // SAFETY: in bounds; the pieces are disjoint, so nobody else reads or writes here.
        #[allow(unsafe_code)]
        unsafe {
            *self.start.add(row * self.width + column) += value;
        }
    }

    /// Part of a row.
    ///
    /// # Safety
    /// No other reference to these numbers may be alive.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn row<'a>(self, row: usize, columns: Range<usize>) -> &'a mut [f32] {
        assert!(row < self.rows && columns.start <= columns.end && columns.end <= self.width);
        // SAFETY: in bounds; the caller vouches for exclusivity.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.width + columns.start), columns.len()) }
    }
}
