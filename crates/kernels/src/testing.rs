//! Helpers of the comparisons between the fast and the plain implementations.

use candle_core::{DType, Device, Tensor};

use crate::cached;
use crate::level::Level;

/// Every device present; the others are named.
pub(crate) fn devices() -> Vec<Device> {
    let mut found = vec![Device::Cpu];
    // As models open it: nothing can be recorded on a stream that tracks what others do.
    match crate::device::open(0) {
        Ok(device) => found.push(device),
        Err(_) => skipped!("cuda (not present or not compiled in)"),
    }
    found
}

/// The levels of the fast kernels that this processor has.
pub(crate) fn levels() -> Vec<Level> {
    Level::present().into_iter().filter(|&level| level != Level::Reference).collect()
}

/// Repeatable numbers in -1..1.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// A tensor of [`numbers`].
pub(crate) fn tensor(seed: u64, shape: &[usize], device: &Device) -> Tensor {
    Tensor::from_vec(numbers(seed, shape.iter().product()), shape, device).unwrap()
}

/// Numbers `[heads, rows, dim]` as a cache holds them, in memory of their own.
pub(crate) fn stored(x: &Tensor, dtype: DType) -> Tensor {
    if dtype != cached::Q8_0 {
        return x.to_dtype(dtype).unwrap().copy().unwrap();
    }
    let (heads, rows, dim) = x.dims3().unwrap();
    let to = Tensor::zeros((heads, rows, cached::width(dtype, dim).unwrap()), dtype, x.device()).unwrap();
    cached::write(&to, 0, &x.transpose(0, 1).unwrap(), 0..heads).unwrap();
    to
}

/// The numbers of a tensor, wherever it lies.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Every number within `tolerance` of the other, relative to the larger of it and `scale`.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32, scale: f32) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * w.abs().max(scale), "at {i} of {}: {g}, not {w}", got.len());
    }
}

/// Runs a block with the emulated GPU and with each real one, as `$gpu`; what is missing is said aloud.
macro_rules! each_gpu {
    (|$gpu:ident| $body:block) => {
        if let Some($gpu) = crate::gpu::emulation::emulation() {
            let $gpu = &$gpu;
            $body
        }
        #[cfg(feature = "cuda")]
        for device in crate::testing::devices().into_iter().filter(candle_core::Device::is_cuda) {
            let any = candle_core::Tensor::zeros(1, candle_core::DType::F32, &device).unwrap();
            if let Some($gpu) = crate::gpu::of(&any).unwrap() {
                let $gpu = &$gpu;
                $body
            }
        }
    };
}
pub(crate) use each_gpu;

/// The tensor where a GPU wants it.
pub(crate) fn on(gpu: &impl crate::gpu::Gpu, tensor: &Tensor) -> Tensor {
    tensor.to_device(gpu.device()).unwrap()
}
