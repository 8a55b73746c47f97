//! Attention for processors: tiles for many rows, of 16-bit integers where the processor multiplies
//! those faster and the entries have 16 bits or less; a streaming pass for few.

#[cfg(target_arch = "x86_64")]
mod integer;
pub(crate) mod row;
pub(crate) mod tile;

use std::ops::Range;

use super::{Entries, Sizes, Visibility};
use crate::error::Result;
use crate::host::values;
use crate::level::Level;
use crate::output::{Output, zeros};
use crate::rows::FEW_PRODUCTS;
use crate::simd::Scratch;
use crate::simd::exp::LOG2_E;
use crate::simd::half::Stored;
use crate::threads;

/// Lanes (rows times query heads of a group) of a tile: enough to make the widening of 16-bit
/// entries and the trips of a block to the cache cheap.
const LANES: usize = 192;

/// Rows times query heads of a group below which a vector of lanes would be mostly empty.
const FEW: usize = 8;

/// Entries below which a share of the entries is not worth a task of its own.
const SHARE: usize = 256;

/// Everything the tasks of one call share.
struct Job<'a> {
    q: &'a [f32],
    sizes: Sizes,
    /// The softmax's scale times log2(e): weights are powers of two.
    scale: f32,
    /// The entries each row sees.
    seen: Vec<Range<usize>>,
    out: Output<'a>,
    /// Shares the entries are split into; with more than one, tasks write unfinished sums.
    shares: usize,
}

/// The entries' keys and values, `[kv_heads, capacity, dim]`.
struct Stock<'a, T> {
    k: &'a [T],
    v: &'a [T],
}

/// Some rows of one kv head over a share of the entries.
struct Task {
    kv_head: usize,
    rows: Range<usize>,
    entries: Range<usize>,
    share: usize,
}

pub(super) fn attention(
    level: Level,
    q: &candle_core::Tensor,
    positions: &[u32],
    entries: Entries<'_>,
    scale: f32,
    visibility: Visibility,
    sizes: Sizes,
) -> Result<Vec<f32>> {
    stored!("attention", entries.k.dtype(), T => typed::<T>(level, q, positions, entries, scale, visibility, sizes))
}

fn typed<T: Stored>(
    level: Level,
    q: &candle_core::Tensor,
    positions: &[u32],
    entries: Entries<'_>,
    scale: f32,
    visibility: Visibility,
    sizes: Sizes,
) -> Result<Vec<f32>> {
    let Sizes { rows, heads, kv_heads, dim, .. } = sizes;
    let (k, v) = (values::<T::Raw>("attention", entries.k)?, values::<T::Raw>("attention", entries.v)?);
    let (q, k, v) = (values::<f32>("attention", q)?, T::of(&k), T::of(&v));
    let mut out = zeros(rows * heads * dim);
    let seen: Vec<Range<usize>> = positions.iter().map(|&p| visibility.range(p, entries.positions)).collect();
    let work: usize = seen.iter().map(ExactSizeIterator::len).sum();
    if work == 0 || out.is_empty() {
        return Ok(out);
    }
    let (first, last) =
        (seen.iter().map(|s| s.start).min().unwrap_or(0), seen.iter().map(|s| s.end).max().unwrap_or(0));
    let threads = if work * heads * dim < FEW_PRODUCTS { 1 } else { threads::count() };
    let few = rows * sizes.group() < FEW && dim.is_multiple_of(crate::simd::outer::lanes(level.arch()));
    let height = if few { rows } else { (LANES / sizes.group()).max(1) };
    let bases = kv_heads * rows.div_ceil(height);
    let wanted = if threads > 1 && bases < threads * 3 { (threads * 3).div_ceil(bases) } else { 1 };
    let shares = wanted.min((last - first) / SHARE).max(1);
    let step = (last - first).div_ceil(shares).next_multiple_of(tile::BLOCK);
    let shares = (last - first).div_ceil(step);

    // Later rows see more: with the longest tasks first, and the last ones short, the threads end together.
    let cuts = cuts(rows, height, threads > 1 && shares == 1);
    let tasks = |kv_heads: Range<usize>| {
        let mut tasks = Vec::with_capacity(kv_heads.len() * cuts.len() * shares);
        for rows in cuts.iter().rev() {
            for kv_head in kv_heads.clone() {
                for share in 0..shares {
                    let from = first + share * step;
                    let entries = from..(from + step).min(last);
                    tasks.push(Task { kv_head, rows: rows.clone(), entries, share });
                }
            }
        }
        tasks
    };
    // Unfinished sums of a share: a row's values, its maximum and its sum of weights.
    let mut parts = vec![0f32; if shares > 1 { shares * rows * heads * (dim + 2) } else { 0 }];
    let (target, width) = if shares > 1 { (&mut parts, dim + 2) } else { (&mut out, dim) };
    // SAFETY: a task alone writes its rows, heads and share.
    #[allow(unsafe_code)]
    let target = unsafe { Output::new(target, width) };
    let job = Job { q: &q, sizes, scale: scale * LOG2_E, seen, out: target, shares };
    let stock = Stock { k, v };
    #[cfg(target_arch = "x86_64")]
    let done = integer::choose::<T>(level, sizes)
        .map(|simd| integer::attend(simd, &job, &stock, first..last, tasks, threads > 1))
        .is_some();
    #[cfg(not(target_arch = "x86_64"))]
    let done = false;
    if !done {
        each(&tasks(0..kv_heads), threads > 1, |task, scratch| {
            if few {
                level.arch().dispatch(row::Rows { job: &job, stock: &stock, task, scratch });
            } else {
                level.arch().dispatch(tile::Tile { job: &job, stock: &stock, task, scratch });
            }
        });
    }
    if shares > 1 {
        merge(&parts, shares, dim, &mut out);
    }
    Ok(out)
}

/// Rows in tiles of `height`, the first of which, where there are several, is cut once more if `finer`.
fn cuts(rows: usize, height: usize, finer: bool) -> Vec<Range<usize>> {
    let fine = if finer && rows > height { height.min(rows) } else { 0 };
    let (short, long) = ((height / 4).max(1), (fine..rows).step_by(height));
    let long = long.map(|start| start..(start + height).min(rows));
    (0..fine).step_by(short).map(|start| start..(start + short).min(fine)).chain(long).collect()
}

/// Runs every task with a thread's scratch.
fn each(tasks: &[Task], parallel: bool, run: impl Fn(&Task, &mut Scratch) + Sync) {
    let run = |task: &Task| Scratch::with(|scratch| run(task, scratch));
    threads::each(parallel, tasks.len(), |i| run(&tasks[i]));
}

impl Job<'_> {
    /// The entries that each lane of a task sees, padded to whole vectors with the last one.
    fn lanes(&self, task: &Task, width: usize) -> Vec<Range<usize>> {
        let group = self.sizes.group();
        let used = task.rows.len() * group;
        (0..used.next_multiple_of(width))
            .map(|lane| {
                let seen = &self.seen[task.rows.start + lane.min(used - 1) / group];
                let start = seen.start.max(task.entries.start);
                start..seen.end.min(task.entries.end).max(start)
            })
            .collect()
    }

    /// The queries of a lane.
    #[inline(always)]
    fn query(&self, task: &Task, lane: usize) -> &[f32] {
        let Sizes { heads, dim, .. } = self.sizes;
        let group = self.sizes.group();
        let from = ((task.rows.start + lane / group) * heads + task.kv_head * group + lane % group) * dim;
        &self.q[from..from + dim]
    }

    /// The task's queries, scaled, as `[dim][lanes]` in groups of `width` lanes.
    #[inline(always)]
    fn transpose(&self, task: &Task, used: usize, width: usize, to: &mut [f32]) {
        let dim = self.sizes.dim;
        let padded = to.len() / dim;
        for at in (0..padded).step_by(width) {
            let width = width.min(padded - at);
            let to = &mut to[at * dim..(at + width) * dim];
            for lane in 0..width {
                let q = self.query(task, (at + lane).min(used - 1));
                for (to, &q) in to[lane..].iter_mut().step_by(width).zip(q) {
                    *to = q * self.scale;
                }
            }
        }
    }

    /// Writes what a tile found for a lane, given its sums of values `[dim][lanes]` in groups of up
    /// to `width` of the `padded` lanes.
    #[inline(always)]
    fn finish_lane(&self, task: &Task, lane: usize, values: &[f32], padded: usize, width: usize, max: f32, sum: f32) {
        let group = self.sizes.group();
        let at = lane / width * width;
        let values = values[at * self.sizes.dim..].iter().skip(lane - at).step_by((padded - at).min(width));
        let (row, head) = (task.rows.start + lane / group, task.kv_head * group + lane % group);
        self.finish(task, row, head, values, max, sum);
    }

    /// Writes what a task found for one row and head.
    #[inline(always)]
    fn finish<'v>(
        &self,
        task: &Task,
        row: usize,
        head: usize,
        values: impl Iterator<Item = &'v f32>,
        max: f32,
        sum: f32,
    ) {
        let (Sizes { rows, heads, dim, .. }, seen) = (self.sizes, &self.seen[row]);
        let nothing = seen.start.max(task.entries.start) >= seen.end.min(task.entries.end);
        let at = (task.share * rows + row) * heads + head;
        // SAFETY: a task alone writes its rows, heads and share.
        #[allow(unsafe_code)]
        let out = unsafe { self.out.row(at, 0..if self.shares > 1 { dim + 2 } else { dim }) };
        if nothing {
            // The buffers start as zeros; only the maximum of nothing must say so.
            if self.shares > 1 {
                out[dim] = tile::LOWEST;
            }
            return;
        }
        let factor = if self.shares > 1 { 1.0 } else { 1.0 / sum };
        for (out, value) in out[..dim].iter_mut().zip(values) {
            *out = value * factor;
        }
        if self.shares > 1 {
            out[dim] = max;
            out[dim + 1] = sum;
        }
    }
}

/// Joins the shares' unfinished sums (`[shares][rows * heads][dim + 2]`).
fn merge(parts: &[f32], shares: usize, dim: usize, out: &mut [f32]) {
    let share = parts.len() / shares;
    for (row, out) in out.chunks_exact_mut(dim).enumerate() {
        let parts = || parts.chunks_exact(share).map(|part| &part[row * (dim + 2)..(row + 1) * (dim + 2)]);
        let max = parts().map(|part| part[dim]).fold(tile::LOWEST, f32::max);
        let mut total = 0.0;
        for part in parts() {
            let weight = (part[dim] - max).exp2();
            total += weight * part[dim + 1];
            out.iter_mut().zip(part).for_each(|(o, p)| *o += weight * p);
        }
        if total != 0.0 {
            out.iter_mut().for_each(|o| *o /= total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cuts;

    #[test]
    fn every_row_is_in_one_cut() {
        for (rows, height) in [(1, 64), (64, 64), (65, 64), (512, 64), (700, 21), (50, 1), (9, 2)] {
            for finer in [false, true] {
                let all: Vec<usize> = cuts(rows, height, finer).into_iter().flatten().collect();
                assert_eq!(all, (0..rows).collect::<Vec<_>>(), "{rows} in {height}");
            }
        }
        assert_eq!(cuts(512, 64, true).len(), 11);
    }
}
