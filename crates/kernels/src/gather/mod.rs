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

use crate::cached::Q8_0;
use crate::error::{Error, Result, invalid};
use crate::host::values;

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

/// The entries `indices` of the heads `heads` of several tensors, keys and values of one layer or of many.
///
/// Shapes: each of `of` `[heads, capacity, width]`, contiguous, all of one shape and a type of [`crate::cached`];
/// each result is `[heads.len(), indices.len(), width]`. Not on a GPU: entries of 8-bit blocks.
pub fn entries(of: &[&Tensor], heads: Range<usize>, indices: &[u32]) -> Result<Vec<Tensor>> {
    let Some(first) = of.first() else { return Ok(Vec::new()) };
    let have = first.dims3()?.0;
    if let Some(other) = of.iter().find(|t| t.dims() != first.dims() || t.dtype() != first.dtype()) {
        return invalid("gather", format!("{:?} {:?} beside {:?}", other.dims(), other.dtype(), first.dims()));
    }
    if heads.end > have || heads.start > heads.end {
        return invalid("gather", format!("heads {heads:?} of {have}"));
    }
    on_gpu!(first, |gpu| cuda::entries(gpu, of, heads, indices));
    let pick = |from: &&Tensor| -> Result<Tensor> {
        let rows = heads.clone().map(|head| rows(&from.get(head)?, indices)).collect::<Result<Vec<_>>>()?;
        if rows.is_empty() {
            return Ok(Tensor::zeros((0, indices.len(), from.dims()[2]), from.dtype(), from.device())?);
        }
        Ok(Tensor::stack(&rows, 0)?)
    };
    of.iter().map(pick).collect()
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
