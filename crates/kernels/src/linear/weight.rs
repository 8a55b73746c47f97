use std::ops::Range;
use std::sync::Arc;

#[cfg(any(feature = "cuda", test))]
use candle_core::DeviceLocation;
use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0, GgmlType,
};
use half::{bf16, f16};

use super::BlockType;
use crate::error::{Error, Result, invalid};

/// A shared piece of memory: a part of a mapped file or of a vector.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// The bytes `range` of `owner`, which stays alive as long as any part of it is in use.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Result<Self> {
        let have = (*owner).as_ref().len();
        if range.start > range.end || range.end > have {
            return invalid("bytes", format!("{range:?} of {have} bytes"));
        }
        Ok(Self { owner, range })
    }

    /// The bytes themselves.
    pub fn as_slice(&self) -> &[u8] {
        (*self.owner).as_ref().get(self.range.clone()).unwrap_or(&[])
    }
}

/// How finely a layer may round what it multiplies with a weight, where that is faster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activations {
    /// To 16 bits: results move as little as if activations were f16.
    #[default]
    Bits16,
    /// To 8 bits with a scale for every 32, as llama.cpp does: by at most 1/254 of the largest of them.
    Bits8,
}

/// A weight matrix `[rows, cols]` in its file format, row-major in blocks along `cols`.
#[derive(Clone)]
pub struct Weight {
    dtype: BlockType,
    rows: usize,
    cols: usize,
    bytes: Bytes,
    activations: Activations,
    /// The copy that a GPU multiplies with, and which one.
    #[cfg(any(feature = "cuda", test))]
    on_gpu: Arc<std::sync::OnceLock<(DeviceLocation, super::cuda::Matrix)>>,
}

impl Weight {
    /// Wraps bytes as a matrix, neither side of which is 0; their number must be exactly what shape and type need.
    pub fn new(dtype: BlockType, rows: usize, cols: usize, bytes: Bytes) -> Result<Self> {
        let block = dtype.block_size();
        let need = (cols / block).checked_mul(dtype.type_size()).and_then(|row| row.checked_mul(rows));
        if rows == 0 || cols == 0 || !cols.is_multiple_of(block) || need != Some(bytes.as_slice().len()) {
            return invalid(
                "weight",
                format!("{} bytes for a [{rows}, {cols}] matrix of {dtype:?}", bytes.as_slice().len()),
            );
        }
        let bytes = if Self::shares(bytes.as_slice()) { bytes } else { Aligned::copy(bytes.as_slice())? };
        Ok(Self {
            dtype,
            rows,
            cols,
            bytes,
            activations: Activations::default(),
            #[cfg(any(feature = "cuda", test))]
            on_gpu: Arc::default(),
        })
    }

    /// Lets activations be rounded so.
    #[must_use]
    pub fn with_activations(mut self, activations: Activations) -> Self {
        self.activations = activations;
        self
    }

    /// How finely activations may be rounded.
    pub fn activations(&self) -> Activations {
        self.activations
    }

    /// Copies the matrix to where its products will be computed, so that want of memory shows here; on the CPU
    /// there is nothing to do. A weight and its clones serve one GPU: on a second one this is an error.
    pub fn prepare(&self, device: &candle_core::Device) -> Result<()> {
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            self.on(device)?;
        }
        let _ = device;
        Ok(())
    }

    /// The copy on a GPU, made at first use. An error where there is one on another GPU.
    #[cfg(any(feature = "cuda", test))]
    pub(super) fn on(&self, device: &candle_core::Device) -> Result<&super::cuda::Matrix> {
        let asked = device.location();
        let (place, matrix) = match self.on_gpu.get() {
            Some(copy) => copy,
            None => {
                let matrix = super::cuda::Matrix::new(self, device)?;
                // Another thread may have been faster, with the same numbers.
                self.on_gpu.get_or_init(|| (asked, matrix))
            }
        };
        if *place != asked {
            return invalid("weight", format!("asked for on {asked:?}, its one copy is on {place:?}: load it twice"));
        }
        Ok(matrix)
    }

    /// Whether there is a copy on a GPU.
    #[cfg(feature = "cuda")]
    pub(super) fn is_on_gpu(&self) -> bool {
        self.on_gpu.get().is_some()
    }

    /// Whether a matrix uses these bytes where they are. Blocks start with a 16-bit scale and dense rows
    /// hold f32: a file that does not align its tensors is copied once instead of being read at odd
    /// addresses.
    pub fn shares(bytes: &[u8]) -> bool {
        bytes.as_ptr().align_offset(4) == 0
    }

    /// A dense f32 matrix.
    pub fn from_f32(values: Vec<f32>, rows: usize, cols: usize) -> Result<Self> {
        let bytes = Aligned::copy(bytemuck::cast_slice(&values))?;
        Self::new(BlockType::F32, rows, cols, bytes)
    }

    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The format of the blocks.
    pub fn dtype(&self) -> BlockType {
        self.dtype
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> usize {
        self.cols / self.dtype.block_size() * self.dtype.type_size()
    }

    /// The blocks of the rows `range`.
    pub fn blocks(&self, range: Range<usize>) -> Result<&[u8]> {
        let row = self.row_bytes();
        self.bytes
            .as_slice()
            .get(range.start * row..range.end * row)
            .ok_or_else(|| Error::Invalid { op: "weight", what: format!("rows {range:?} of {}", self.rows) })
    }

    /// Row `row` as f32. `out` holds `cols` values.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<()> {
        if out.len() != self.cols {
            return invalid("dequantize", format!("room for {} of {} values", out.len(), self.cols));
        }
        let bytes = self.blocks(row..row + 1)?;
        match self.dtype {
            BlockType::F32 => out.copy_from_slice(bytemuck::cast_slice(bytes)),
            BlockType::F16 => {
                let values: &[u16] = bytemuck::cast_slice(bytes);
                out.iter_mut().zip(values).for_each(|(o, &v)| *o = f16::from_bits(v).to_f32());
            }
            BlockType::BF16 => {
                let values: &[u16] = bytemuck::cast_slice(bytes);
                out.iter_mut().zip(values).for_each(|(o, &v)| *o = bf16::from_bits(v).to_f32());
            }
            BlockType::Q4_0 => to_float::<BlockQ4_0>(bytes, out),
            BlockType::Q4_1 => to_float::<BlockQ4_1>(bytes, out),
            BlockType::Q5_0 => to_float::<BlockQ5_0>(bytes, out),
            BlockType::Q5_1 => to_float::<BlockQ5_1>(bytes, out),
            BlockType::Q8_0 => to_float::<BlockQ8_0>(bytes, out),
            BlockType::Q2K => to_float::<BlockQ2K>(bytes, out),
            BlockType::Q3K => to_float::<BlockQ3K>(bytes, out),
            BlockType::Q4K => to_float::<BlockQ4K>(bytes, out),
            BlockType::Q5K => to_float::<BlockQ5K>(bytes, out),
            BlockType::Q6K => to_float::<BlockQ6K>(bytes, out),
            other => return Err(Error::Unsupported { op: "dequantize", what: format!("{other:?}") }),
        }
        Ok(())
    }
}

/// candle's own dequantisation defines what a block means.
fn to_float<B: GgmlType>(bytes: &[u8], out: &mut [f32]) {
    let count = bytes.len() / size_of::<B>();
    debug_assert_eq!(bytes.as_ptr().align_offset(align_of::<B>()), 0);
    // SAFETY: the block types are `repr(C)` structs of integers and 16-bit floats, valid for any
    // bits; `Weight::new` has checked the length and aligned the start to 4 bytes.
    #[allow(unsafe_code)]
    let blocks = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<B>(), count) };
    B::to_float(blocks, out);
}

/// Bytes on a 4-byte boundary.
struct Aligned(Vec<u32>, usize);

impl Aligned {
    fn copy(bytes: &[u8]) -> Result<Bytes> {
        let mut words = vec![0u32; bytes.len().div_ceil(4)];
        bytemuck::cast_slice_mut::<u32, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Bytes::new(Arc::new(Self(words, bytes.len())), 0..bytes.len())
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..self.1]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_second_gpu_is_refused_and_not_given_the_copy_of_the_first() {
        let weight = Weight::from_f32(vec![1.0; 6], 2, 3).unwrap();
        let elsewhere = super::super::cuda::Matrix::new(&weight, &Device::Cpu).unwrap();
        assert!(weight.on_gpu.set((DeviceLocation::Cuda { gpu_id: 1 }, elsewhere)).is_ok());
        let error = weight.clone().on(&Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("gpu_id: 1") && error.contains("Cpu"), "{error}");
        let weight = Weight::from_f32(vec![1.0; 6], 2, 3).unwrap();
        assert!(weight.on(&Device::Cpu).is_ok() && weight.on(&Device::Cpu).is_ok());
    }
}
