//! Results that several threads write at once.

use std::ops::Range;

/// A row-major result, or a window of one, written by several threads in disjoint pieces. Rows and
/// columns are always those of the whole result.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    start: *mut f32,
    top: usize,
    left: usize,
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
        Self::window(values, 0, 0..width)
    }

    /// The rows from `top` on and the columns `columns` of a result that is nowhere whole; `values`
    /// must outlive every use.
    pub(crate) fn window(values: &mut [f32], top: usize, columns: Range<usize>) -> Self {
        let width = columns.len();
        Self { start: values.as_mut_ptr(), top, left: columns.start, rows: values.len() / width.max(1), width }
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
        // SAFETY: in bounds; the pieces are disjoint, so nobody else writes here.
        #[allow(unsafe_code)]
        unsafe {
            *self.start.add(at) = value;
        }
    }

    /// Adds to one number.
    #[inline(always)]
    pub(crate) fn add(self, row: usize, column: usize, value: f32) {
        let at = self.at(row, column, 1);
        // SAFETY: in bounds; the pieces are disjoint, so nobody else reads or writes here.
        #[allow(unsafe_code)]
        unsafe {
            *self.start.add(at) += value;
        }
    }

    /// Part of a row.
    ///
    /// # Safety
    /// No other reference to these numbers may be alive.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn row<'a>(self, row: usize, columns: Range<usize>) -> &'a mut [f32] {
        let at = self.at(row, columns.start, columns.len());
        // SAFETY: in bounds; the caller vouches for exclusivity.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), columns.len()) }
    }
}
