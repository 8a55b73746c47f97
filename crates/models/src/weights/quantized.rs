//! Weights in a smaller number format than their file's.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use skimlm_core::{Error, Result};
use skimlm_kernels::linear::{BlockType, Bytes, Weight};
use skimlm_kernels::threads::try_each_of;

use super::{Part, Weights};
use crate::config::Config;
use crate::open::Progress;

/// A format to bring weights to while they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// 8 bits and a scale for 32 values; 8.5 bits a value.
    Q8_0,
    /// 4 bits, with scales of 6 bits for 32 values and of 16 for 256; 4.5 bits a value. Embedding and
    /// head, which suffer most, become `Q8_0`.
    Q4K,
}

impl Quantization {
    /// The format of a matrix with rows of `cols` values: the wanted one if whole blocks fit, else
    /// `Q8_0`, else none and the matrix stays as it is.
    pub fn format(self, part: Part, cols: usize) -> Option<BlockType> {
        let wanted = match (self, part) {
            (Self::Q4K, Part::Layer(..)) => BlockType::Q4K,
            _ => BlockType::Q8_0,
        };
        [wanted, BlockType::Q8_0].into_iter().find(|format| cols.is_multiple_of(format.block_size()))
    }

    /// Bytes of all weights of a model of floats in this format, by its sizes alone.
    pub fn bytes(self, config: &Config) -> u64 {
        let bytes = |part: Part| {
            let (rows, cols) = part.shape(config);
            let (values, bytes) = match self.format(part, cols).filter(|_| rows > 1) {
                Some(format) => (format.block_size(), format.type_size()),
                // Vectors are f32; a matrix without whole blocks stays at 16 bits in most checkpoints.
                None => (1, if rows > 1 { 2 } else { 4 }),
            };
            (rows as u64).saturating_mul((cols / values) as u64).saturating_mul(bytes as u64)
        };
        Part::all(config).map(bytes).fold(0, u64::saturating_add)
    }
}

/// Another source's weights, brought to a smaller format one matrix at a time and row by row: beyond
/// the result it takes the memory of the matrix at hand, mapped or copied, and of a few rows.
pub struct Quantized<'a> {
    inner: &'a dyn Weights,
    to: Quantization,
    progress: RefCell<(Progress<'a>, u64)>,
    total: u64,
}

impl<'a> Quantized<'a> {
    /// Looks at every part, so that a missing or misshapen one is an error before the work begins; errors as in
    /// [`Weights::matrix`]. `progress` gets the bytes of the result that are done and their total; its error ends the
    /// work and is returned.
    pub fn new(inner: &'a dyn Weights, to: Quantization, progress: Progress<'a>) -> Result<Self> {
        // One part at a time: a source copies those that its file does not align.
        let bytes = |part: Part| Ok(part_bytes(to, part, &inner.matrix(part)?));
        let total = Part::all(inner.config()).map(bytes).sum::<Result<u64>>()?;
        let all = Self { inner, to, progress: RefCell::new((progress, 0)), total };
        all.report(0)?;
        Ok(all)
    }

    /// So many bytes more are done; with 0, a chance for the caller to end the loading.
    pub(crate) fn report(&self, bytes: u64) -> Result<()> {
        let (progress, done) = &mut *self.progress.borrow_mut();
        *done = done.saturating_add(bytes);
        progress((*done).min(self.total), self.total)
    }
}

/// The format that a matrix is brought to; none: it stays as it is.
fn becomes(to: Quantization, part: Part, weight: &Weight) -> Option<BlockType> {
    to.format(part, weight.cols()).filter(|&format| larger(weight, format))
}

/// Bytes of a part in the result: a vector is of f32.
fn part_bytes(to: Quantization, part: Part, weight: &Weight) -> u64 {
    let row = match becomes(to, part, weight) {
        _ if weight.rows() == 1 => size_of::<f32>() * weight.cols(),
        Some(format) => weight.cols() / format.block_size() * format.type_size(),
        None => weight.row_bytes(),
    };
    weight.rows() as u64 * row as u64
}

impl Weights for Quantized<'_> {
    fn config(&self) -> &Config {
        self.inner.config()
    }

    fn matrix(&self, part: Part) -> Result<Weight> {
        let weight = self.inner.matrix(part)?;
        let bytes = part_bytes(self.to, part, &weight);
        let weight = match becomes(self.to, part, &weight) {
            Some(format) => {
                let small = quantize(&weight, format)?;
                self.inner.release(part);
                small
            }
            None => weight,
        };
        self.report(bytes)?;
        Ok(weight)
    }

    fn vector(&self, part: Part) -> Result<Vec<f32>> {
        let values = self.inner.vector(part)?;
        self.report(size_of_val(values.as_slice()) as u64)?;
        Ok(values)
    }
}

/// Only floats are brought to a smaller format; blocks stay what they are.
fn larger(weight: &Weight, format: BlockType) -> bool {
    weight.dtype().block_size() == 1 && weight.dtype() != format
}

/// A matrix in another format, by candle's own conversion, the rows in parallel on the threads of the kernels. Fails
/// where that does (`ERR_INTERNAL`).
pub fn quantize(weight: &Weight, format: BlockType) -> Result<Weight> {
    let (rows, cols) = (weight.rows(), weight.cols());
    let width = cols / format.block_size() * format.type_size();
    let mut out = vec![0u8; rows * width];
    try_each_of(true, out.chunks_mut(width).enumerate(), |(row, out)| {
        let mut values = vec![0f32; cols];
        weight.dequantize_row(row, &mut values)?;
        let tensor = QTensor::quantize(&Tensor::from_vec(values, (1, cols), &Device::Cpu)?, format)?;
        out.copy_from_slice(&tensor.data()?);
        Ok::<_, Error>(())
    })?;
    Ok(Weight::new(format, rows, cols, Bytes::new(Arc::new(out), 0..rows * width)?)?)
}
