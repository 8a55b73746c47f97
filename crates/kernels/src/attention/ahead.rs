//! Attention of the one row of a decoding step, as a device counts the steps.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::{Entries, Visibility, attention, check};
use crate::error::{Result, invalid};
use crate::steps::Steps;

/// The entries that the row of each coming step sees: a range each, its own included.
pub struct Reach {
    ranges: Vec<Range<usize>>,
    #[cfg(feature = "cuda")]
    there: Option<super::cuda::Seen>,
}

impl Reach {
    /// One range a step.
    pub fn new(ranges: Vec<Range<usize>>, device: &Device) -> Result<Self> {
        if ranges.iter().any(|range| range.is_empty() || u32::try_from(range.end).is_err()) {
            return invalid("attention", "a step that sees nothing, or too much".into());
        }
        #[cfg(feature = "cuda")]
        let there = match device {
            Device::Cuda(cuda) => Some(super::cuda::Seen::of_ranges(&crate::gpu::Driver::of(cuda)?, ranges.clone())?),
            _ => None,
        };
        let _ = device;
        Ok(Self {
            ranges,
            #[cfg(feature = "cuda")]
            there,
        })
    }
}

/// [`attention`] of a step's row over the entries that `reach` names for it.
///
/// Shapes: `q` `[1, query_heads, dim]` f32, rotated; `k` and `v` as in [`Entries`], with room for the entries of all steps.
/// Heads wider than 256 have no kernel on a GPU, and are an error there.
pub fn attention_ahead(q: &Tensor, k: &Tensor, v: &Tensor, reach: &Reach, scale: f32, steps: &Steps) -> Result<Tensor> {
    let (most, capacity) = (reach.ranges.iter().map(|range| range.end).max().unwrap_or(0), k.dims3()?.1);
    let alike = v.dims() == k.dims() && v.dtype() == k.dtype();
    if reach.ranges.len() < steps.most() || most > capacity || q.dims3()?.0 != 1 || !alike {
        let (ranges, steps) = (reach.ranges.len(), steps.most());
        let of = |x: &Tensor| format!("{:?} {:?}", x.dims(), x.dtype());
        let what = format!("{ranges} ranges up to {most} for {steps} steps, q is {}, k {}, v {}", of(q), of(k), of(v));
        return invalid("attention", what);
    }
    let sizes = check("attention", q, &[0], k, &[])?;
    on_gpu!(q, |gpu| match &reach.there {
        Some(seen) => super::cuda::attend(gpu, q, [k, v], seen, scale, sizes, Some(&steps.at)),
        None => invalid("attention", "ranges of another device".into()),
    });
    let _ = sizes;
    let Range { start, end } = reach.ranges[steps.done()?.min(reach.ranges.len() - 1)];
    // A range is what a window sees of entries at the positions 0, 1, 2, ...
    let positions: Vec<u32> = (0..end as u32).collect();
    let visibility = Visibility::Window { width: (end - start) as u32 };
    attention(q, &[end as u32 - 1], Entries { k, v, positions: &positions, tags: &[] }, scale, visibility)
}
