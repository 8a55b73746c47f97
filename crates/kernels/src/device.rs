//! GPUs: which there are, why one cannot be used, and opening one.

use candle_core::Device;

use crate::error::{Error, Result};

/// A GPU of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuInfo {
    /// The driver's number for it.
    pub index: usize,
    /// The maker's name.
    pub name: String,
    /// Memory in bytes.
    pub total_bytes: u64,
    /// Memory that is free, in bytes.
    pub free_bytes: u64,
    /// Why it cannot be used.
    pub reason: Option<String>,
}

/// The GPUs of this machine; an error says why none can even be listed.
pub fn gpus() -> std::result::Result<Vec<GpuInfo>, String> {
    #[cfg(feature = "cuda")]
    return crate::gpu::probe::gpus();
    #[cfg(not(feature = "cuda"))]
    Err("This build runs on the CPU only.".into())
}

/// Opens a GPU; everything done on it afterwards is queued on one stream.
pub fn open(index: usize) -> Result<Device> {
    let refused = |why: String| Error::Device { id: format!("cuda:{index}"), why };
    let found = gpus().map_err(refused)?.into_iter().find(|gpu| gpu.index == index);
    let gpu = found.ok_or_else(|| refused("There is no such GPU.".into()))?;
    match gpu.reason {
        Some(why) => Err(refused(why)),
        #[cfg(feature = "cuda")]
        None => crate::gpu::probe::open(index),
        #[cfg(not(feature = "cuda"))]
        None => Err(refused("This build runs on the CPU only.".into())),
    }
}

/// Bytes of a GPU's memory in all and free; none on the CPU.
pub fn memory(device: &Device) -> Option<(u64, u64)> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return crate::gpu::probe::memory(device).ok();
    }
    let _ = device;
    None
}

/// The most bytes that tensors have taken on a GPU since [`reset_peak`]; none on the CPU.
pub fn peak(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return crate::gpu::probe::peak(device).ok();
    }
    let _ = device;
    None
}

/// Lets [`peak`] start over from what is taken now.
pub fn reset_peak(device: &Device) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        crate::gpu::probe::reset_peak(device);
    }
    let _ = device;
}

/// Whether a failure is want of memory on a GPU.
pub fn is_out_of_memory(error: &candle_core::Error) -> bool {
    // The driver's and cuBLAS' codes reach us as text, whatever wrapped them.
    let text = error.to_string();
    ["OUT_OF_MEMORY", "ALLOC_FAILED", "out of memory"].iter().any(|code| text.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_not_there_is_refused_with_the_reason() {
        let error = open(4095).unwrap_err();
        assert!(matches!(&error, Error::Device { id, why } if id == "cuda:4095" && !why.is_empty()), "{error}");
        assert_eq!((memory(&Device::Cpu), peak(&Device::Cpu)), (None, None));
    }

    #[test]
    fn want_of_memory_is_told_from_other_failures() {
        let of = |text: &str| is_out_of_memory(&candle_core::Error::Cuda(text.to_owned().into()));
        assert!(of("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"));
        assert!(of("CublasError(CUBLAS_STATUS_ALLOC_FAILED)"));
        assert!(!of("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS)"));
    }
}
