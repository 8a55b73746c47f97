use std::cell::{Cell, RefCell};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Storage, Tensor};

use crate::error::{Error, Result, invalid};

/// Tensors a table of pointers has room for, as the kernels declare it.
pub(crate) const TABLE: usize = 64;

/// One parameter of a kernel, whose tensors are borrowed or held.
pub(crate) enum Arg<T> {
    /// A tensor that is read.
    In(T),
    /// A tensor that is written; the caller owns it.
    Out(T),
    /// A table of tensors that are read.
    Ins(Vec<T>),
    /// A table of tensors that are written.
    Outs(Vec<T>),
    /// A pointer to nothing.
    Null,
    /// A number.
    U32(u32),
    /// A number.
    U64(u64),
    /// A number.
    F32(f32),
    /// A number.
    F64(f64),
}

/// A kernel, its grid and its parameters.
pub(crate) struct Launch<T> {
    /// The exported name.
    pub(crate) kernel: String,
    /// Blocks.
    pub(crate) grid: [usize; 3],
    /// Threads of a block, whole warps.
    pub(crate) threads: usize,
    /// Bytes of shared memory of a block.
    pub(crate) shared: usize,
    /// Whether blocks wait for one another.
    pub(crate) cooperative: bool,
    /// In the order of the declaration.
    pub(crate) args: Vec<Arg<T>>,
}

impl<T> Launch<T> {
    /// A launch of independent blocks without shared memory.
    pub(crate) fn new(kernel: impl Into<String>, grid: [usize; 3], threads: usize, args: Vec<Arg<T>>) -> Self {
        Self { kernel: kernel.into(), grid, threads, shared: 0, cooperative: false, args }
    }

    /// The same with shared memory.
    pub(crate) fn with_shared(self, bytes: usize) -> Self {
        Self { shared: bytes, ..self }
    }

    /// The grid as the driver takes it; none if there is nothing to do.
    pub(crate) fn blocks(&self) -> Result<Option<[u32; 3]>> {
        if self.grid.contains(&0) {
            return Ok(None);
        }
        let [x, y, z] = self.grid;
        if x > i32::MAX as usize || y > 65535 || z > 65535 {
            return invalid("launch", format!("a grid of {x} x {y} x {z} blocks for {}", self.kernel));
        }
        Ok(Some([x as u32, y as u32, z as u32]))
    }

    /// The same with other tensors.
    #[cfg(test)]
    pub(crate) fn map<'a, U>(&'a self, to: impl Fn(&'a T) -> U + Copy) -> Launch<U> {
        let args = self.args.iter().map(|arg| match arg {
            Arg::In(tensor) => Arg::In(to(tensor)),
            Arg::Out(tensor) => Arg::Out(to(tensor)),
            Arg::Ins(tensors) => Arg::Ins(tensors.iter().map(to).collect()),
            Arg::Outs(tensors) => Arg::Outs(tensors.iter().map(to).collect()),
            Arg::Null => Arg::Null,
            Arg::U32(value) => Arg::U32(*value),
            Arg::U64(value) => Arg::U64(*value),
            Arg::F32(value) => Arg::F32(*value),
            Arg::F64(value) => Arg::F64(*value),
        });
        let Self { ref kernel, grid, threads, shared, cooperative, .. } = *self;
        Launch { kernel: kernel.clone(), grid, threads, shared, cooperative, args: args.collect() }
    }
}

impl Launch<&Tensor> {
    /// Calls `run` with the address of every parameter's value, while all tensors are locked. All of them must lie
    /// on `device`.
    pub(crate) fn with_parameters(
        &self,
        device: &Device,
        run: impl FnOnce(&mut [*mut std::ffi::c_void]) -> Result<()>,
    ) -> Result<()> {
        if let Some(other) = self.args.iter().flat_map(Arg::tensors).find(|t| !t.device().same_device(device)) {
            let what = format!("a tensor on {:?} for {} on {:?}", other.device(), self.kernel, device);
            return invalid("launch", what);
        }
        let mut values: Vec<Vec<u64>> = self.args.iter().map(Arg::value).collect();
        // A tensor that is written, and where its address belongs.
        let (mut guards, mut outs): (Vec<_>, Vec<(&Tensor, usize, usize)>) = (Vec::new(), Vec::new());
        for (i, arg) in self.args.iter().enumerate() {
            match arg {
                Arg::In(tensor) => {
                    let (guard, layout) = tensor.storage_and_layout();
                    values[i][0] = read_address(&guard, layout)?;
                    guards.push(guard);
                }
                Arg::Ins(tensors) => {
                    for (tensor, value) in tensors.iter().zip(&mut values[i]) {
                        let (guard, layout) = tensor.storage_and_layout();
                        *value = read_address(&guard, layout)?;
                        guards.push(guard);
                    }
                }
                Arg::Out(tensor) => outs.push((tensor, i, 0)),
                Arg::Outs(tensors) => outs.extend(tensors.iter().enumerate().map(|(slot, tensor)| (*tensor, i, slot))),
                Arg::Null | Arg::U32(_) | Arg::U64(_) | Arg::F32(_) | Arg::F64(_) => {}
            }
        }
        let run = Cell::new(Some(run));
        let values = RefCell::new(values);
        // The outputs stay locked for writing until the innermost call has launched.
        lock(&outs, &values, &|| {
            let mut values = values.borrow_mut();
            let mut pointers: Vec<_> = values.iter_mut().map(|value| value.as_mut_ptr().cast()).collect();
            run.take().map_or(Ok(()), |run| run(&mut pointers))
        })
    }
}

impl<T> Arg<T> {
    fn tensors(&self) -> &[T] {
        match self {
            Self::In(tensor) | Self::Out(tensor) => std::slice::from_ref(tensor),
            Self::Ins(tensors) | Self::Outs(tensors) => tensors,
            Self::Null | Self::U32(_) | Self::U64(_) | Self::F32(_) | Self::F64(_) => &[],
        }
    }

    /// The parameter's bytes in words, pointers still open.
    fn value(&self) -> Vec<u64> {
        match self {
            Self::In(_) | Self::Out(_) | Self::Null => vec![0],
            Self::Ins(_) | Self::Outs(_) => vec![0; TABLE],
            Self::U32(value) => vec![u64::from(*value)],
            Self::U64(value) => vec![*value],
            Self::F32(value) => vec![u64::from(value.to_bits())],
            Self::F64(value) => vec![value.to_bits()],
        }
    }
}

/// Locks the tensors for writing, one inside the other, notes their addresses and runs.
fn lock(outs: &[(&Tensor, usize, usize)], values: &RefCell<Vec<Vec<u64>>>, run: &dyn Fn() -> Result<()>) -> Result<()> {
    let Some(((tensor, arg, slot), rest)) = outs.split_first() else { return run() };
    let outcome = Cell::new(Ok(()));
    let note = |address: u64| {
        values.borrow_mut()[*arg][*slot] = address;
        outcome.set(lock(rest, values, run));
    };
    tensor.inplace_op1(&Note(&note))?;
    outcome.into_inner()
}

struct Note<'a>(&'a dyn Fn(u64));

impl InplaceOp1 for Note<'_> {
    fn name(&self) -> &'static str {
        "launch"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let start = start_of(layout).map_err(candle_core::Error::wrap)?;
        let address = match storage {
            CpuStorage::F32(all) => all[start..].as_mut_ptr() as u64,
            CpuStorage::U32(all) => all[start..].as_mut_ptr() as u64,
            CpuStorage::F16(all) => all[start..].as_mut_ptr() as u64,
            CpuStorage::BF16(all) => all[start..].as_mut_ptr() as u64,
            _ => candle_core::bail!("launch: an output of an unknown type"),
        };
        (self.0)(address);
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        (self.0)(super::driver::address(storage, start_of(layout).map_err(candle_core::Error::wrap)?)?);
        Ok(())
    }
}

fn read_address(storage: &Storage, layout: &Layout) -> Result<u64> {
    let start = start_of(layout)?;
    match storage {
        Storage::Cpu(CpuStorage::F32(all)) => Ok(all[start..].as_ptr() as u64),
        Storage::Cpu(CpuStorage::U32(all)) => Ok(all[start..].as_ptr() as u64),
        Storage::Cpu(CpuStorage::F16(all)) => Ok(all[start..].as_ptr() as u64),
        Storage::Cpu(CpuStorage::BF16(all)) => Ok(all[start..].as_ptr() as u64),
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => Ok(super::driver::address(storage, start)?),
        _ => Err(Error::Unsupported { op: "launch", what: "a tensor of this device or type".into() }),
    }
}

fn start_of(layout: &Layout) -> Result<usize> {
    match layout.contiguous_offsets() {
        Some((start, _)) => Ok(start),
        None => invalid("launch", format!("a contiguous tensor is required, got strides {:?}", layout.stride())),
    }
}
