//! Picking rows by index.

mod cpu;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::{DType, Tensor, WithDType};
use half::{bf16, f16};

use crate::error::{Error, Result, invalid};
use crate::host::values;

/// The rows `indices` of `x`, in that order.
///
/// Shapes: `x` `[rows, ...]`, contiguous, f32, f16 or bf16; the result is `[indices.len(), ...]`.
/// An index beyond the last row is an error.
pub fn rows(x: &Tensor, indices: &[u32]) -> Result<Tensor> {
    let Some((&count, rest)) = x.dims().split_first() else {
        return invalid("gather", "x has no rows".into());
    };
    let width = rest.iter().product::<usize>();
    let mut shape = x.dims().to_vec();
    shape[0] = indices.len();
    match x.dtype() {
        DType::F32 => run::<f32>(x, width, count, indices, shape),
        DType::F16 => run::<f16>(x, width, count, indices, shape),
        DType::BF16 => run::<bf16>(x, width, count, indices, shape),
        other => Err(Error::Unsupported { op: "gather", what: format!("{other:?}") }),
    }
}

fn run<T: WithDType>(x: &Tensor, width: usize, count: usize, indices: &[u32], shape: Vec<usize>) -> Result<Tensor> {
    let mut out = vec![T::zero(); indices.len() * width];
    rows_into(&values::<T>("gather", x)?, width, count, indices, &mut out)?;
    Ok(Tensor::from_vec(out, shape, x.device())?)
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
