use std::ops::Range;

use candle_core::{DType, Tensor};

use super::{ANCHOR, Entries, Sizes, Visibility, chunked};
use crate::error::{Error, Result};
use crate::gpu::{Arg, Gpu, Launch, SLICES, THREADS, TILE, in_pieces, name_of, require_f32, small};

/// Numbers of the widest head that the kernels take.
const WIDEST: usize = 256;

/// Bytes of shared memory of the f32 kernels: slices of the products, weights, and what the rows see.
const F32_SHARED: usize = SLICES + TILE * (TILE + 4) * 4 + TILE * 12;

/// What rows see, as index ranges: a kernel needs no positions.
pub(crate) struct Seen {
    /// First entry of each row.
    pub(crate) from: Tensor,
    /// End of each row's entries.
    pub(crate) to: Tensor,
    /// Under anchors: where each row's segment starts, and the number of tagged entries before each entry.
    anchors: Option<(Tensor, Tensor)>,
    /// The same on the host.
    pub(super) ranges: Vec<Range<usize>>,
}

impl Seen {
    /// Rows whose ranges are known.
    pub(crate) fn of_ranges(gpu: &impl Gpu, ranges: Vec<Range<usize>>) -> Result<Self> {
        Ok(Self {
            from: gpu.upload(ranges.iter().map(|range| range.start as u32).collect())?,
            to: gpu.upload(ranges.iter().map(|range| range.end as u32).collect())?,
            anchors: None,
            ranges,
        })
    }

    pub(crate) fn of(
        gpu: &impl Gpu,
        visibility: Visibility,
        rows: &[u32],
        entries: &[u32],
        tags: &[u32],
    ) -> Result<Self> {
        let mut ranges: Vec<_> = rows.iter().map(|&row| visibility.range(row, entries)).collect();
        let mut anchors = None;
        // Without tags everything is one segment.
        if matches!(visibility, Visibility::Anchored { .. }) && !tags.is_empty() {
            let ends: Vec<usize> = (0..tags.len()).filter(|&i| tags[i] == ANCHOR).collect();
            let segments: Vec<u32> = rows
                .iter()
                .zip(&mut ranges)
                .map(|(&row, range)| {
                    // The row's own entry, or where it would be, ends no earlier segment.
                    let own = entries.partition_point(|&p| p < row);
                    let start = ends[..ends.partition_point(|&e| e < own)].last().map_or(0, |&last| last + 1);
                    if entries.get(own) == Some(&row) && tags[own] == ANCHOR {
                        range.start = range.start.max(start).min(range.end);
                    }
                    start as u32
                })
                .collect();
            let mut tagged = 0;
            let before = std::iter::once(0).chain(tags.iter().map(|&tag| {
                tagged += u32::from(tag != 0);
                tagged
            }));
            anchors = Some((gpu.upload(segments)?, gpu.upload(before.collect())?));
        }
        Ok(Self { anchors, ..Self::of_ranges(gpu, ranges)? })
    }

    /// Entries of the row that sees most.
    fn longest(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(0)
    }

    /// Whether each of `rows` rows sees each of `entries` entries, `[rows, entries]` of flags.
    pub(super) fn mask(&self, first: usize, rows: usize, entry: usize, entries: usize) -> Result<Tensor> {
        let column = |of: &Tensor| of.narrow(0, first, rows)?.unsqueeze(1);
        let e = Tensor::arange(entry as u32, (entry + entries) as u32, self.from.device())?.unsqueeze(0)?;
        let inside = (e.broadcast_ge(&column(&self.from)?)? * e.broadcast_lt(&column(&self.to)?)?)?;
        let Some((segment, before)) = &self.anchors else { return Ok(inside) };
        let tagged = before.narrow(0, entry + 1, entries)?.ne(&before.narrow(0, entry, entries)?)?.unsqueeze(0)?;
        let own = e.broadcast_ge(&column(segment)?)?;
        Ok((inside * own.broadcast_maximum(&tagged)?)?)
    }
}

/// Whether the tensor cores take it.
fn takes(k: &Tensor, v: &Tensor, dim: usize) -> bool {
    matches!(k.dtype(), DType::F16 | DType::BF16)
        && matches!(dim, 64 | 96 | 128)
        && in_pieces(k, dim)
        && in_pieces(v, dim)
}

/// As the contract of `attention`. Entries of f16 and bf16 with heads of 64, 96 or 128 go to the tensor cores, all
/// others are computed in f32, heads wider than 256 by the tensor library.
pub(crate) fn attention(
    gpu: &impl Gpu,
    q: &Tensor,
    positions: &[u32],
    entries: Entries<'_>,
    scale: f32,
    visibility: Visibility,
    sizes: Sizes,
) -> Result<Tensor> {
    require_f32("attention", &[q])?;
    let Sizes { rows, heads, dim, .. } = sizes;
    name_of("attention", entries.k.dtype())?;
    if rows == 0 || entries.positions.is_empty() {
        return gpu.zeros((rows, heads, dim), DType::F32);
    }
    let seen = Seen::of(gpu, visibility, positions, entries.positions, entries.tags)?;
    if dim > WIDEST {
        return chunked::attention(gpu, q, entries, &seen, scale, sizes, chunked::PIECE);
    }
    attend(gpu, q, [entries.k, entries.v], &seen, scale, sizes, None)
}

/// By our own kernels; with `step` the rows are those of that number on of `seen`.
pub(crate) fn attend(
    gpu: &impl Gpu,
    q: &Tensor,
    [k, v]: [&Tensor; 2],
    seen: &Seen,
    scale: f32,
    sizes: Sizes,
    step: Option<&Tensor>,
) -> Result<Tensor> {
    require_f32("attention", &[q])?;
    let Sizes { rows, heads, kv_heads, capacity, dim } = sizes;
    let capacity = small("attention", "the capacity", capacity)?;
    let name = name_of("attention", k.dtype())?;
    let (kernel, threads, shared) = if takes(k, v, dim) {
        (format!("attention_mma_{name}_{dim}"), 128, 2 * TILE * (dim + 8) * 2 + TILE * 12)
    } else {
        let width = [64, 128, WIDEST].into_iter().find(|&width| dim <= width).ok_or_else(|| Error::Unsupported {
            op: "attention",
            what: format!("heads of {dim} numbers in a kernel that takes {WIDEST}"),
        })?;
        (format!("attention_{name}_{width}"), THREADS, F32_SHARED)
    };
    let out = gpu.zeros((rows, heads, dim), DType::F32)?;
    let tiles = small("attention", "the number of rows", rows * sizes.group())?.div_ceil(TILE as u32) as usize;
    // Few rows would leave most of the GPU idle: their entries are shared out and the shares merged.
    let wanted = (2 * gpu.processors()).div_ceil(tiles * kv_heads);
    let shares = wanted.min(seen.longest().div_ceil(4 * TILE)).clamp(1, 128);
    let vectors = rows * heads;
    let (parts, lse) = match shares {
        1 => (out.clone(), None),
        _ => (gpu.zeros((shares, vectors, dim), DType::F32)?, Some(gpu.zeros((shares, vectors), DType::F32)?)),
    };
    let (segment, before) = match &seen.anchors {
        Some((segment, before)) => (Arg::In(segment), Arg::In(before)),
        None => (Arg::Null, Arg::Null),
    };
    let args = vec![
        Arg::In(q),
        Arg::In(k),
        Arg::In(v),
        Arg::In(&seen.from),
        Arg::In(&seen.to),
        segment,
        before,
        step.map_or(Arg::Null, Arg::In),
        Arg::Out(&parts),
        lse.as_ref().map_or(Arg::Null, Arg::Out),
        Arg::U32(rows as u32),
        Arg::U32(small("attention", "the number of heads", heads)?),
        Arg::U32(dim as u32),
        Arg::U32(sizes.group() as u32),
        Arg::U32(capacity),
        Arg::F32(scale * std::f32::consts::LOG2_E),
    ];
    gpu.launch(Launch::new(kernel, [tiles, kv_heads, shares], threads, args).with_shared(shared))?;
    if let Some(lse) = &lse {
        let args = vec![
            Arg::In(&parts),
            Arg::In(lse),
            Arg::Out(&out),
            Arg::U32(shares as u32),
            Arg::U32(small("attention", "the number of vectors", vectors)?),
            Arg::U32(dim as u32),
        ];
        gpu.launch(Launch::new("attention_merge", [vectors, 1, 1], 128, args))?;
    }
    Ok(out)
}
