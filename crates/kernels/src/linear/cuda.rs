//! Products on a GPU through candle: cuBLAS for dense weights, its own kernels for the block formats.
//!
//! Dense weights multiply in their own type, with sums of f32 and a result rounded to that type. candle's kernels for
//! blocks round activations to 8 bits, 32 with one scale, as llama.cpp does; that is coarser than our CPU kernels.

use std::borrow::Cow;

use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module, Tensor};

use super::{BlockType, Weight};
use crate::error::Result;
use crate::gpu::Gpu;

/// A weight in the memory of a device.
pub(crate) enum Matrix {
    /// `[out, in]` in the type of the file.
    Dense(Tensor),
    /// In blocks.
    Blocks(QMatMul),
}

impl Matrix {
    pub(crate) fn new(weight: &Weight, device: &Device) -> Result<Self> {
        let (shape, bytes) = ((weight.rows(), weight.cols()), weight.blocks(0..weight.rows())?);
        let dense = |dtype| Ok(Self::Dense(Tensor::from_raw_buffer(bytes, dtype, &[shape.0, shape.1], device)?));
        match weight.dtype() {
            BlockType::F32 => dense(DType::F32),
            BlockType::F16 => dense(DType::F16),
            BlockType::BF16 => dense(DType::BF16),
            blocks => {
                let storage = QStorage::from_data(Cow::Borrowed(bytes), device, blocks)?;
                Ok(Self::Blocks(QMatMul::from_qtensor(QTensor::new(storage, shape)?)?))
            }
        }
    }

    /// `x W^T`, f32 in and out.
    pub(crate) fn product(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => Ok(x.to_dtype(weight.dtype())?.matmul(&weight.t()?)?.to_dtype(DType::F32)?),
            Self::Blocks(weight) => Ok(weight.forward(x)?),
        }
    }

    /// The rows `ids` (u32, on the same device), f32.
    pub(crate) fn rows(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(weight) => Ok(weight.embedding(ids)?.to_dtype(DType::F32)?),
            Self::Blocks(weight) => Ok(weight.embedding(ids)?),
        }
    }
}

/// As the contract of `linears`.
pub(crate) fn linears<const N: usize>(gpu: &impl Gpu, x: &Tensor, weights: [&Weight; N]) -> Result<[Tensor; N]> {
    let products = weights.into_iter().map(|weight| match x.dims() {
        [0, _] => gpu.zeros((0, weight.rows()), DType::F32),
        _ => {
            let (weight, x) = (weight.clone(), x.clone());
            gpu.library(move || weight.on(x.device())?.product(&x))
        }
    });
    let products = products.collect::<Result<Vec<_>>>()?;
    products.try_into().or_else(|_| crate::error::invalid("linear", "an impossible number of outputs".into()))
}

/// As the contract of `embed_ahead`.
pub(crate) fn embed(gpu: &impl Gpu, weight: &Weight, token: &Tensor) -> Result<Tensor> {
    let (weight, token) = (weight.clone(), token.clone());
    gpu.library(move || weight.on(token.device())?.rows(&token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::reference;
    use crate::linear::tests::weight;
    use crate::testing::{assert_close, flat, tensor};

    /// On the CPU the same calls run candle's CPU code: what is passed to it is tested here.
    #[test]
    fn dense_and_block_weights_multiply_as_the_reference_does() {
        for dtype in [BlockType::F32, BlockType::F16, BlockType::BF16, BlockType::Q8_0, BlockType::Q4K] {
            let weight = weight(1, dtype, 48, 256);
            let x = tensor(2, &[7, 256], &Device::Cpu);
            let mut want = vec![0f32; 7 * 48];
            reference::linear(&flat(&x), &weight, &mut want).unwrap();
            let got = Matrix::new(&weight, &Device::Cpu).unwrap().product(&x).unwrap();
            assert_eq!(got.dims(), [7, 48]);
            let tolerance = if dtype == BlockType::F32 { 1e-4 } else { 2e-2 };
            assert_close(&flat(&got), &want, tolerance, 10.0);

            let ids = [3u32, 0, 47];
            let rows = Matrix::new(&weight, &Device::Cpu).unwrap().rows(&Tensor::new(&ids, &Device::Cpu).unwrap());
            let mut want = vec![0f32; 3 * 256];
            reference::embed(&ids, &weight, &mut want).unwrap();
            assert_eq!(flat(&rows.unwrap()), want);
        }
    }
}
