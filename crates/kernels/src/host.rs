//! Borrowing the numbers of a tensor in host memory.

use std::marker::PhantomData;
use std::ops::Deref;

use candle_core::{Device, Storage, Tensor, WithDType};

use crate::error::{Error, Result, invalid};

/// A contiguous host tensor's values, borrowed for as long as the guard lives.
pub(crate) struct Values<G, T> {
    guard: G,
    start: usize,
    len: usize,
    of: PhantomData<T>,
}

impl<G: Deref<Target = Storage>, T: WithDType> Deref for Values<G, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // `values` has checked device, type and bounds; a tensor's storage never changes them.
        match &*self.guard {
            Storage::Cpu(cpu) => {
                cpu.as_slice::<T>().ok().and_then(|all| all.get(self.start..self.start + self.len)).unwrap_or(&[])
            }
            _ => &[],
        }
    }
}

/// The values of a contiguous tensor in host memory, row-major.
pub(crate) fn values<'t, T: WithDType>(
    op: &'static str,
    tensor: &'t Tensor,
) -> Result<Values<impl Deref<Target = Storage> + 't, T>> {
    require_cpu(op, tensor)?;
    if tensor.dtype() != T::DTYPE {
        return invalid(op, format!("expected {:?}, got {:?}", T::DTYPE, tensor.dtype()));
    }
    let (guard, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        return invalid(op, format!("a contiguous tensor is required, got strides {:?}", layout.stride()));
    };
    Ok(Values { guard, start, len: end - start, of: PhantomData })
}

/// Fails unless the tensor lies in host memory.
pub(crate) fn require_cpu(op: &'static str, tensor: &Tensor) -> Result<()> {
    match tensor.device() {
        Device::Cpu => Ok(()),
        other => Err(Error::Unsupported { op, what: format!("{:?}", other.location()) }),
    }
}
