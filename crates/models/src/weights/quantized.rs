//! Weights in a smaller number format than their file's.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use skimlm_core::{Error, Result};
use skimlm_kernels::linear::{BlockType, Bytes, Weight};

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
}

/// Another source's weights, brought to a smaller format one matrix at a time and row by row: beyond
/// the result it takes the memory of a few rows.
pub struct Quantized<'a> {
    inner: &'a dyn Weights,
    to: Quantization,
    progress: RefCell<(Progress<'a>, u64)>,
    total: u64,
}

impl<'a> Quantized<'a> {
    /// `progress` gets the values done and their total; its error ends the work and is returned.
    pub fn new(inner: &'a dyn Weights, to: Quantization, progress: Progress<'a>) -> Result<Self> {
        let config = inner.config();
        let total = Part::all(config).map(|part| values(part, config)).sum();
        progress(0, total)?;
        Ok(Self { inner, to, progress: RefCell::new((progress, 0)), total })
    }

    fn report(&self, part: Part) -> Result<()> {
        let (progress, done) = &mut *self.progress.borrow_mut();
        *done += values(part, self.inner.config());
        progress((*done).min(self.total), self.total)
    }
}

fn values(part: Part, config: &Config) -> u64 {
    let (rows, cols) = part.shape(config);
    (rows as u64).saturating_mul(cols as u64)
}

impl Weights for Quantized<'_> {
    fn config(&self) -> &Config {
        self.inner.config()
    }

    fn matrix(&self, part: Part) -> Result<Weight> {
        let weight = self.inner.matrix(part)?;
        let weight = match self.to.format(part, weight.cols()) {
            Some(format) if larger(&weight, format) => {
                let small = quantize(&weight, format)?;
                self.inner.release(part);
                small
            }
            _ => weight,
        };
        self.report(part)?;
        Ok(weight)
    }

    fn vector(&self, part: Part) -> Result<Vec<f32>> {
        let values = self.inner.vector(part)?;
        self.report(part)?;
        Ok(values)
    }
}

/// Only floats are brought to a smaller format; blocks stay what they are.
fn larger(weight: &Weight, format: BlockType) -> bool {
    weight.dtype().block_size() == 1 && weight.dtype() != format
}

/// A matrix in another format, by candle's own conversion, the rows in parallel. Fails where that does
/// (`ERR_INTERNAL`).
pub fn quantize(weight: &Weight, format: BlockType) -> Result<Weight> {
    let (rows, cols) = (weight.rows(), weight.cols());
    let width = cols / format.block_size() * format.type_size();
    let mut out = vec![0u8; rows * width];
    out.par_chunks_mut(width).enumerate().try_for_each(|(row, out)| {
        let mut values = vec![0f32; cols];
        weight.dequantize_row(row, &mut values)?;
        let tensor = QTensor::quantize(&Tensor::from_vec(values, (1, cols), &Device::Cpu)?, format)?;
        out.copy_from_slice(&tensor.data()?);
        Ok::<_, Error>(())
    })?;
    Ok(Weight::new(format, rows, cols, Bytes::new(Arc::new(out), 0..rows * width)?)?)
}
