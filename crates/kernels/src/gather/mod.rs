//! Picking rows by index.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::{DType, Tensor, WithDType};
use half::{bf16, f16};

use crate::cached::{self, Q8_0};
use crate::error::{Error, Result, invalid};
use crate::host::values;
use crate::rope::{self, Angles};

/// The rows `indices` of `x`, in that order.
///
/// Shapes: `x` `[rows, ...]`, contiguous, f32 or of a type of [`crate::cached`]; the result is `[indices.len(), ...]`.
/// An index beyond the last row is an error.
pub fn rows(x: &Tensor, indices: &[u32]) -> Result<Tensor> {
    let Some((&count, rest)) = x.dims().split_first() else {
        return invalid("gather", "x has no rows".into());
    };
    let width = rest.iter().product::<usize>();
    on_gpu!(x, |gpu| cuda::rows(gpu, x, indices));
    let mut shape = x.dims().to_vec();
    shape[0] = indices.len();
    match x.dtype() {
        DType::F32 => run::<f32>(x, width, count, indices, shape),
        DType::F16 => run::<f16>(x, width, count, indices, shape),
        DType::BF16 => run::<bf16>(x, width, count, indices, shape),
        Q8_0 => run::<u8>(x, width, count, indices, shape),
        other => Err(Error::Unsupported { op: "gather", what: format!("{other:?}") }),
    }
}

fn run<T: WithDType>(x: &Tensor, width: usize, count: usize, indices: &[u32], shape: Vec<usize>) -> Result<Tensor> {
    let mut out = vec![T::zero(); indices.len() * width];
    rows_into(&values::<T>("gather", x)?, width, count, indices, &mut out)?;
    Ok(Tensor::from_vec(out, shape, x.device())?)
}

/// How keys that move to other positions turn on the way.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// The turn of each entry.
    pub angles: &'a Angles,
    /// Which of the tensors hold keys, one flag each.
    pub keys: &'a [bool],
}

/// The entries `indices` of the heads `heads` of several tensors, keys and values of one layer or of many.
///
/// Shapes: each of `of` `[heads, capacity, width]`, contiguous, all of one shape and a type of [`crate::cached`];
/// each result is `[heads.len(), indices.len(), width]`. Keys turn in f32 and are rounded once. On a GPU this is one
/// launch for 64 tensors.
pub fn entries(of: &[&Tensor], heads: Range<usize>, indices: &[u32], turn: Option<Turn<'_>>) -> Result<Vec<Tensor>> {
    let Some(first) = of.first() else { return Ok(Vec::new()) };
    let have = first.dims3()?.0;
    if let Some(other) = of.iter().find(|t| t.dims() != first.dims() || t.dtype() != first.dtype()) {
        return invalid("gather", format!("{:?} {:?} beside {:?}", other.dims(), other.dtype(), first.dims()));
    }
    if heads.end > have || heads.start > heads.end {
        return invalid("gather", format!("heads {heads:?} of {have}"));
    }
    if let Some(turn) = turn
        && (turn.angles.len() != indices.len()
            || turn.keys.len() != of.len()
            || turn.angles.width() > cached::dim(first.dtype(), first.dims()[2])?)
    {
        let (angles, width, keys) = (turn.angles.len(), turn.angles.width(), turn.keys.len());
        let what = format!("{angles} turns of {width} numbers and {keys} flags for {} rows", indices.len());
        return invalid("gather", format!("{what} of {} tensors {:?}", of.len(), first.dims()));
    }
    on_gpu!(first, |gpu| cuda::entries(gpu, of, heads, indices, turn));
    let pick = |(i, from): (usize, &&Tensor)| -> Result<Tensor> {
        let rows = heads.clone().map(|head| rows(&from.get(head)?, indices)).collect::<Result<Vec<_>>>()?;
        if rows.is_empty() {
            return Ok(Tensor::zeros((0, indices.len(), from.dims()[2]), from.dtype(), from.device())?);
        }
        let picked = Tensor::stack(&rows, 0)?;
        match turn {
            Some(turn) if turn.keys[i] => rope::turned(&picked, turn.angles),
            _ => Ok(picked),
        }
    };
    of.iter().enumerate().map(pick).collect()
}

/// Copies the rows `indices` of a row-major `src` (`count` rows of `width`) into `out`.
pub fn rows_into<T: Copy + Send + Sync>(
    src: &[T],
    width: usize,
    count: usize,
    indices: &[u32],
    out: &mut [T],
) -> Result<()> {
    if let Some(bad) = indices.iter().find(|&&i| i as usize >= count) {
        return invalid("gather", format!("row {bad} of {count} rows"));
    }
    if src.len() < count * width || out.len() < indices.len() * width {
        return invalid(
            "gather",
            format!(
                "{} source values for {count} rows of {width}, room for {} values and {} rows wanted",
                src.len(),
                out.len(),
                indices.len()
            ),
        );
    }
    if crate::reference_forced() {
        reference::rows_into(src, width, indices, out);
    } else {
        cpu::rows_into(src, width, indices, out);
    }
    Ok(())
}
