//! Work that is independent row by row.

use crate::threads;

/// Numbers below which another thread is not worth waking.
pub(crate) const SMALL: usize = 1 << 16;

/// Multiplications of queries with keys or values below which the same holds.
pub(crate) const FEW_PRODUCTS: usize = 1 << 17;

/// Numbers a task takes at most, unless one row has more.
const SHARE: usize = 1 << 14;

/// Whether so many numbers are worth waking another thread, and there is one.
pub(crate) fn many(numbers: usize) -> bool {
    numbers >= SMALL && threads::count() > 1
}

/// Runs `work(first_row, rows)` over all rows of `out`, in pieces of whole rows on all threads when
/// there is enough to do.
pub(crate) fn each<T: Send>(out: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync + Send) {
    if out.is_empty() || width == 0 {
        return;
    }
    if !many(out.len()) {
        return work(0, out);
    }
    let rows = (SHARE / width).max(1);
    threads::each_of(true, out.chunks_mut(rows * width).enumerate(), |(piece, out)| work(piece * rows, out));
}
