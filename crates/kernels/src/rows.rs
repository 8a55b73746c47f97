//! Work that is independent row by row.

use crate::threads;

/// Numbers below which another thread is not worth waking.
const SMALL: usize = 1 << 16;

/// Numbers a task takes at least.
const SHARE: usize = 1 << 14;

/// Runs `work(first_row, rows)` over all rows of `out`, in pieces of whole rows on all threads when
/// there is enough to do.
pub(crate) fn each<T: Send>(out: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync + Send) {
    if out.is_empty() || width == 0 {
        return;
    }
    if out.len() < SMALL || threads::count() == 1 {
        return work(0, out);
    }
    let rows = (SHARE / width).max(1);
    threads::each_of(true, out.chunks_mut(rows * width).enumerate(), |(piece, out)| work(piece * rows, out));
}
