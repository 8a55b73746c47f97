//! [`Visibility::Anchored`] out of causal calls.
//!
//! All ordinary rows of a segment see one list causally: what earlier segments left visible, then the
//! segment. That list is a compact copy of keys and values in which each entry is copied once and each
//! tagged one twice, however many segments there are. An anchor sees a window of the same list that
//! begins where its segment does. Where the entries are that list already (a compacted cache, the first
//! segment) nothing is copied.

use std::ops::Range;

use candle_core::Tensor;

use super::{ANCHOR, Entries, Sizes, Visibility, cpu};
use crate::error::Result;
use crate::gather;

/// Where a segment is among the entries, and the rows that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    entries: Range<usize>,
    rows: Vec<u32>,
}

pub(super) fn attention(
    q: &Tensor,
    positions: &[u32],
    entries: Entries<'_>,
    scale: f32,
    width: Option<u32>,
    sizes: Sizes,
) -> Result<Vec<f32>> {
    let ordinary = width.map_or(Visibility::Causal, |width| Visibility::Window { width });
    let Entries { positions: at, tags, .. } = entries;
    let ends: Vec<usize> = (0..tags.len()).filter(|&i| tags[i] == ANCHOR).collect();
    let row_width = sizes.heads * sizes.dim;
    let mut out = vec![0f32; sizes.rows * row_width];
    let mut list = List::default();
    for segment in segments(positions, at, &ends) {
        let call = |rows: &[u32], entries: Entries<'_>, visibility| -> Result<Vec<f32>> {
            let q = rows_of(q, rows)?;
            let positions: Vec<u32> = rows.iter().map(|&r| positions[r as usize]).collect();
            cpu::attention(
                crate::level::current(),
                &q,
                &positions,
                entries,
                scale,
                visibility,
                Sizes { rows: rows.len(), capacity: entries.k.dims()[1], ..sizes },
            )
        };
        let mut place = |rows: &[u32], values: &[f32]| {
            for (&row, values) in rows.iter().zip(values.chunks_exact(row_width.max(1))) {
                out[row as usize * row_width..][..row_width].copy_from_slice(values);
            }
        };
        let Segment { entries: own, rows } = segment;
        let seen = if tags[..own.start.min(tags.len())].iter().all(|&tag| tag != 0) {
            // Everything before the segment stays visible: the entries up to its end are the list.
            Entries { positions: &at[..own.end], tags: &[], ..entries }
        } else {
            list.turn_to(entries, own.clone())?
        };
        let anchor = |row: &u32| {
            own.end > 0 && tags.get(own.end - 1) == Some(&ANCHOR) && at[own.end - 1] == positions[*row as usize]
        };
        let (anchors, others): (Vec<u32>, Vec<u32>) = rows.iter().partition(|row| anchor(row));
        if !others.is_empty() {
            place(&others, &call(&others, seen, ordinary)?);
        }
        if !anchors.is_empty() {
            // From the first position of the segment to the last one, which is the anchor's own.
            let reach = at[own.end - 1] - at[own.start] + 1;
            place(&anchors, &call(&anchors, seen, ordinary.within(reach))?);
        }
    }
    Ok(out)
}

/// The segments that have rows, in order of position. `ends` are the indices of the anchors.
fn segments(rows: &[u32], entries: &[u32], ends: &[usize]) -> Vec<Segment> {
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.sort_by_key(|&r| rows[r as usize]);
    let mut all: Vec<Segment> = Vec::new();
    for row in order {
        // Anchors before the row; the row itself may be the next one.
        let before = ends.partition_point(|&e| entries[e] < rows[row as usize]);
        let start = before.checked_sub(1).map_or(0, |last| ends[last] + 1);
        match all.last_mut() {
            Some(segment) if segment.entries.start == start => segment.rows.push(row),
            _ => {
                let end = ends.get(before).map_or(entries.len(), |&end| end + 1);
                all.push(Segment { entries: start..end, rows: vec![row] });
            }
        }
    }
    all
}

/// The rows `rows` of `q`, without a copy where they lie together.
fn rows_of(q: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let together = rows.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    match rows.first() {
        Some(&first) if together => Ok(q.narrow(0, first as usize, rows.len())?),
        _ => gather::rows(q, rows),
    }
}

/// The compact list: tagged entries of earlier segments, then one whole segment.
#[derive(Default)]
struct List {
    k: Option<Tensor>, // (kv_heads, capacity, dim)
    v: Option<Tensor>,
    positions: Vec<u32>,
    /// Entries of the list that are there to stay, and entries that have been looked at for it.
    kept: usize,
    passed: usize,
}

impl List {
    /// Moves on to a later segment.
    fn turn_to<'a>(&'a mut self, entries: Entries<'_>, own: Range<usize>) -> Result<Entries<'a>> {
        let Entries { positions, tags, .. } = entries;
        if self.k.is_none() {
            // At most every entry is in it.
            let dims = entries.k.dims3()?;
            let empty = || crate::cached::empty(dims, entries.k.dtype(), entries.k.device());
            (self.k, self.v) = (Some(empty()?), Some(empty()?));
        }
        let stay: Vec<u32> = (self.passed as u32..own.start as u32).filter(|&i| tags[i as usize] != 0).collect();
        self.positions.truncate(self.kept);
        self.positions.extend(stay.iter().map(|&i| positions[i as usize]));
        self.positions.extend_from_slice(&positions[own.clone()]);
        for (list, from) in [(&self.k, entries.k), (&self.v, entries.v)] {
            let Some(list) = list else { continue };
            if !stay.is_empty() {
                let heads =
                    (0..from.dims()[0]).map(|h| gather::rows(&from.get(h)?, &stay)).collect::<Result<Vec<_>>>()?;
                list.slice_set(&Tensor::stack(&heads, 0)?, 1, self.kept)?;
            }
            if !own.is_empty() {
                list.slice_set(&from.narrow(1, own.start, own.len())?.contiguous()?, 1, self.kept + stay.len())?;
            }
        }
        self.kept += stay.len();
        self.passed = own.start;
        let (k, v) = match (&self.k, &self.v) {
            (Some(k), Some(v)) => (k, v),
            _ => return crate::error::invalid("attention", "a list without entries".into()),
        };
        Ok(Entries { k, v, positions: &self.positions, tags: &[] })
    }
}
