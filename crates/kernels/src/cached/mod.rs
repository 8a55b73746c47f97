//! Rows of a cache: how keys and values lie in memory, written from activations and read back.
//!
//! A cache is `[heads, capacity, width]` of one of four types. f32, f16 and bf16 are the numbers
//! themselves, `width` is the head's size. [`Q8_0`] rows are bytes: 32 numbers are an f16 scale (little
//! endian) and 32 integers of 8 bits, the block of that name in GGUF files, so `width` is 34 bytes for
//! every 32 numbers. Whatever copies rows copies either; only what computes must know.

mod block;
mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, InplaceOp2, Layout, Tensor};
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};

pub(crate) use block::Block;

use crate::error::{Error, Result, invalid};
use crate::host::values;
use crate::level::Level;
use crate::steps::Steps;

/// The tensor type of rows of 8-bit blocks. No other tensor of bytes goes into a cache.
pub const Q8_0: DType = DType::U8;

/// Numbers of a block of [`Q8_0`].
pub const BLOCK: usize = 32;

/// Bytes of a block of [`Q8_0`].
pub const BLOCK_BYTES: usize = size_of::<Block>();

/// Elements of a row of `dim` numbers. An error where [`Q8_0`] has no whole blocks.
pub fn width(dtype: DType, dim: usize) -> Result<usize> {
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => Ok(dim),
        Q8_0 if dim.is_multiple_of(BLOCK) => Ok(dim / BLOCK * BLOCK_BYTES),
        Q8_0 => invalid("cache", format!("rows of {dim} numbers, no multiple of the {BLOCK} of a block")),
        other => Err(Error::Unsupported { op: "cache", what: format!("{other:?}") }),
    }
}

/// Numbers of a row of `width` elements.
pub fn dim(dtype: DType, width: usize) -> Result<usize> {
    match dtype {
        Q8_0 if width.is_multiple_of(BLOCK_BYTES) => Ok(width / BLOCK_BYTES * BLOCK),
        Q8_0 => invalid("cache", format!("rows of {width} bytes, no multiple of the {BLOCK_BYTES} of a block")),
        _ => Ok(width),
    }
}

/// An empty cache `[heads, capacity, width]`: zeros that cost no memory before rows are written, where the system
/// hands it out as it is touched.
pub fn empty(shape: (usize, usize, usize), dtype: DType, device: &Device) -> Result<Tensor> {
    let len = shape.0 * shape.1 * shape.2;
    // Of 16-bit floats a vector of zeros would be written, of integers it is asked for.
    let zeros = || vec![0u16; len];
    Ok(match dtype {
        DType::F16 if device.is_cpu() => Tensor::from_vec(zeros().reinterpret_into::<f16>(), shape, device)?,
        DType::BF16 if device.is_cpu() => Tensor::from_vec(zeros().reinterpret_into::<bf16>(), shape, device)?,
        _ => Tensor::zeros(shape, dtype, device)?,
    })
}

/// Writes activations into a cache, **in place**: head `heads.start + h` of row `r` of `x` becomes row
/// `at + r` of head `h`.
///
/// Shapes: `to` `[heads.len(), capacity, width]`, contiguous; `x` `[rows, all heads, dim]` f32. Numbers
/// are rounded to the nearest. In a block of [`Q8_0`] the largest magnitude becomes 127 (so a number is
/// off by half a 127th of it at most, or by 2^-18 where that is more); a number that is NaN,
/// infinite or beyond 127 times the largest f16 makes its block NaN. Blocks are not written on a GPU. The
/// caller must own `to`: every tensor that shares its storage changes with it.
pub fn write(to: &Tensor, at: usize, x: &Tensor, heads: Range<usize>) -> Result<()> {
    let ((count, capacity, wide), (rows, all, dim)) = (to.dims3()?, x.dims3()?);
    if heads.len() != count || heads.end > all || at + rows > capacity || width(to.dtype(), dim)? != wide {
        let what = format!("heads {heads:?} of {:?} to {at} of {:?} {:?}", x.dims(), to.dtype(), to.dims());
        return invalid("cache", what);
    }
    if rows == 0 || count == 0 || dim == 0 {
        return Ok(());
    }
    on_gpu!(to, |gpu| cuda::write(gpu, to, at, &x.contiguous()?, heads, None));
    if crate::reference_forced() && to.dtype() != Q8_0 {
        return reference::write(to, at, x, heads);
    }
    Ok(to.inplace_op2(&x.contiguous()?, &Write { level: crate::level::current(), at, heads })?)
}

/// [`write`] of the one row of a step, as many rows behind `at` as steps are done.
pub fn write_ahead(to: &Tensor, at: usize, x: &Tensor, heads: Range<usize>, steps: &Steps) -> Result<()> {
    let ((count, capacity, wide), (rows, all, dim)) = (to.dims3()?, x.dims3()?);
    let fits = at + steps.most() <= capacity && width(to.dtype(), dim)? == wide;
    if rows != 1 || heads.len() != count || heads.end > all || !fits {
        let what = format!("heads {heads:?} of {:?} to {at} and {} on of {:?}", x.dims(), steps.most(), to.dims());
        return invalid("cache", what);
    }
    on_gpu!(to, |gpu| cuda::write(gpu, to, at, x, heads, Some(&steps.at)));
    write(to, at + steps.done()?, x, heads)
}

/// The numbers of cached rows as f32: `[.., width]` becomes `[.., dim]`.
pub fn read(rows: &Tensor) -> Result<Tensor> {
    if rows.dtype() != Q8_0 {
        return Ok(rows.to_dtype(DType::F32)?);
    }
    let mut shape = rows.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = dim(Q8_0, *last)?;
    }
    let rows = rows.contiguous()?;
    let bytes = values::<u8>("cache", &rows)?;
    let blocks: &[Block] = bytemuck::cast_slice(&bytes);
    let mut out = vec![0f32; blocks.len() * BLOCK];
    crate::rows::each(&mut out, BLOCK, |first, out| {
        let blocks = &blocks[first..];
        out.chunks_exact_mut(BLOCK).zip(blocks).for_each(|(out, block)| reference::unpack(block, out));
    });
    Ok(Tensor::from_vec(out, shape, rows.device())?)
}

/// Moves the rows `kept` (strictly ascending) of every head to its first rows, **in place**, and says
/// whether it did: not on a GPU. What lies behind them is left as it is.
///
/// Shape: `of` `[heads, capacity, width]`, contiguous, of any type. The caller must own `of`: every tensor
/// that shares its storage changes with it.
pub fn close_up(of: &Tensor, kept: &[u32]) -> Result<bool> {
    let (_, capacity, _) = of.dims3()?;
    let ascending = kept.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || kept.last().is_some_and(|&last| last as usize >= capacity) {
        return invalid("cache", format!("{} kept rows of {capacity}, ascending from {:?}", kept.len(), kept.first()));
    }
    if !of.device().is_cpu() {
        return Ok(false);
    }
    of.inplace_op1(&CloseUp(kept))?;
    Ok(true)
}

struct Write {
    level: Level,
    at: usize,
    heads: Range<usize>,
}

impl InplaceOp2 for Write {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, to_at: &Layout, x: &CpuStorage, x_at: &Layout) -> candle_core::Result<()> {
        let (Some(place), Some((start, end))) = (to_at.contiguous_offsets(), x_at.contiguous_offsets()) else {
            candle_core::bail!("cache: contiguous tensors are required");
        };
        let CpuStorage::F32(x) = x else {
            candle_core::bail!("cache: activations must be f32");
        };
        let (_, capacity, width) = to_at.shape().dims3()?;
        let (_, all, dim) = x_at.shape().dims3()?;
        let from = cpu::Rows { x: &x[start..end], all, dim, first: self.heads.start };
        let (level, at, place) = (self.level, self.at, place.0..place.1);
        match to {
            CpuStorage::F32(to) => cpu::write(level, &mut to[place], capacity, width, at, &from),
            CpuStorage::F16(to) => cpu::write::<f16>(level, &mut to[place], capacity, width, at, &from),
            CpuStorage::BF16(to) => cpu::write::<bf16>(level, &mut to[place], capacity, width, at, &from),
            CpuStorage::U8(to) => {
                let blocks: &mut [Block] = bytemuck::cast_slice_mut(&mut to[place]);
                cpu::write(level, blocks, capacity, width / BLOCK_BYTES, at, &from);
            }
            other => candle_core::bail!("cache: {:?} is no type of a cache", other.dtype()),
        }
        Ok(())
    }
}

struct CloseUp<'a>(&'a [u32]);

impl InplaceOp1 for CloseUp<'_> {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn cpu_fwd(&self, of: &mut CpuStorage, at: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = at.contiguous_offsets() else {
            candle_core::bail!("cache: a contiguous tensor is required");
        };
        let (_, capacity, width) = at.shape().dims3()?;
        let row = capacity * width;
        match of {
            CpuStorage::F32(of) => cpu::close_up(&mut of[start..end], row, width, self.0),
            CpuStorage::F16(of) => cpu::close_up(&mut of[start..end], row, width, self.0),
            CpuStorage::BF16(of) => cpu::close_up(&mut of[start..end], row, width, self.0),
            CpuStorage::U8(of) => cpu::close_up(&mut of[start..end], row, width, self.0),
            other => candle_core::bail!("cache: {:?} is no type of a cache", other.dtype()),
        }
        Ok(())
    }
}
