//! Launching our own kernels on tensors of a GPU.
//!
//! An operation's `cuda.rs` says which kernels run over which grid, against the [`Gpu`] trait. The driver
//! runs them on a device, and a test runs the very same code over an emulation of grid, block and threads
//! on the CPU, so that only what a GPU alone can show is left to a machine that has one.

#[cfg(feature = "cuda")]
mod driver;
#[cfg(test)]
pub(crate) mod emulation;
mod launch;
#[cfg(feature = "cuda")]
pub(crate) mod probe;

#[cfg(feature = "cuda")]
pub(crate) use driver::Driver;
pub(crate) use launch::{Arg, Launch, TABLE};

use candle_core::{DType, Device, Shape, Tensor};

use crate::error::{Error, Result, invalid};

/// Runs kernels on the tensors of one device, in the order of the calls.
pub(crate) trait Gpu {
    /// Where tensors for it are made.
    fn device(&self) -> &Device;

    /// Multiprocessors: how many blocks run at once at least.
    fn processors(&self) -> usize;

    /// Starts a kernel. Its outputs may be read by later calls on the same device.
    fn launch(&self, launch: Launch<&Tensor>) -> Result<()>;

    /// What [`Gpu::record`] gives.
    type Recording;

    /// Notes what `work` does on the device instead of doing it: the same kernels on the same addresses. It may make
    /// tensors, which must not leave it, and bring no numbers along. On failure nothing has been done.
    fn record<E: From<Error>>(
        &self,
        work: impl FnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<Self::Recording, E>
    where
        Self: Sized;

    /// Does what has been noted. What `work` found when it was recorded must still be there.
    fn replay(&self, recording: &Self::Recording) -> Result<()>;

    /// An operation of the tensor library, in its order among the kernels.
    fn library(&self, op: impl Fn() -> Result<Tensor> + 'static) -> Result<Tensor>
    where
        Self: Sized,
    {
        op()
    }

    /// Numbers for a kernel to read.
    fn upload<T: candle_core::WithDType>(&self, values: Vec<T>) -> Result<Tensor>
    where
        Self: Sized,
    {
        let len = values.len();
        Ok(Tensor::from_vec(values, len, self.device())?)
    }

    /// A tensor for a kernel to write.
    fn zeros(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor>
    where
        Self: Sized,
    {
        zeros(shape.into(), dtype, self.device())
    }
}

fn zeros(shape: Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    if shape.elem_count() == 0 {
        // The driver need not allocate nothing.
        return Ok(Tensor::zeros(1, dtype, device)?.narrow(0, 0, 0)?.reshape(shape)?);
    }
    Ok(Tensor::zeros(shape, dtype, device)?)
}

/// The GPU a tensor lies on, if it lies on one.
#[cfg(feature = "cuda")]
pub(crate) fn of(tensor: &Tensor) -> Result<Option<driver::Driver>> {
    match tensor.device() {
        Device::Cuda(device) => driver::Driver::of(device).map(Some),
        _ => Ok(None),
    }
}

/// Threads of a block where an operation has no reason for another number.
pub(crate) const THREADS: usize = 256;

/// Rows (of attention: of a row and its group's query heads) and entries of a tile of products.
pub(crate) const TILE: usize = 64;

/// Bytes of shared memory of the slices that a tile's products are taken of (`cuda/tile.cuh`).
pub(crate) const SLICES: usize = 2 * 32 * (TILE + 4) * 4;

/// The part of a kernel's name that says what it reads.
pub(crate) fn name_of(op: &'static str, dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F16 => Ok("f16"),
        DType::BF16 => Ok("bf16"),
        other => Err(Error::Unsupported { op, what: format!("{other:?} on a GPU") }),
    }
}

/// Fails unless all are f32, which the kernels take for granted of activations.
pub(crate) fn require_f32(op: &'static str, tensors: &[&Tensor]) -> Result<()> {
    match tensors.iter().find(|tensor| tensor.dtype() != DType::F32) {
        Some(other) => invalid(op, format!("expected F32, got {:?}", other.dtype())),
        None => Ok(()),
    }
}

/// Fails with the number of `of` whose flat index a kernel has noted in `bad`, if it has (`note_if_not_finite`).
pub(crate) fn finite(op: &'static str, of: &Tensor, bad: &Tensor) -> Result<()> {
    match bad.to_vec1::<u32>()?[0] {
        u32::MAX => Ok(()),
        index => {
            let value = of.flatten_all()?.get(index as usize)?.to_scalar::<f32>()?;
            Err(Error::NonFinite { op, index: index as usize, value })
        }
    }
}

/// Whether rows of `dim` numbers can be read 16 bytes at a time.
pub(crate) fn in_pieces(tensor: &Tensor, dim: usize) -> bool {
    let size = tensor.dtype().size_in_bytes();
    (dim * size).is_multiple_of(16) && (tensor.layout().start_offset() * size).is_multiple_of(16)
}

/// A number that a kernel takes as 32 bits.
pub(crate) fn small(op: &'static str, what: &str, value: usize) -> Result<u32> {
    u32::try_from(value).or_else(|_| invalid(op, format!("{what} is {value}, a GPU counts to 2^32 there")))
}
