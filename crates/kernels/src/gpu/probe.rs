//! What the driver says of its GPUs.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result, sys};
use candle_core::{CudaDevice, Device};

use crate::device::GpuInfo;
use crate::error::Result;

/// CUDA 13.0, as the build's libraries.
const DRIVER: i32 = 13_000;

/// Ampere, the first that the kernels are compiled for.
const CAPABILITY: (i32, i32) = (8, 0);

pub(crate) fn gpus() -> std::result::Result<Vec<GpuInfo>, String> {
    let said = |error: DriverError| format!("The NVIDIA driver answers {error:?}.");
    result::init().map_err(said)?;
    let version = driver_version().map_err(said)?;
    if version < DRIVER {
        let (major, minor) = (version / 1000, version % 1000 / 10);
        return Err(format!("The NVIDIA driver knows CUDA {major}.{minor}; this build needs 13.0: update the driver."));
    }
    let count = CudaContext::device_count().map_err(said)?;
    if count == 0 {
        return Err("The NVIDIA driver sees no GPU.".into());
    }
    Ok((0..count as usize).map(gpu).collect())
}

fn gpu(index: usize) -> GpuInfo {
    let mut found = GpuInfo { index, name: "GPU".into(), total_bytes: 0, free_bytes: 0, reason: None };
    let mut ask = || -> std::result::Result<(i32, i32), DriverError> {
        let context = CudaContext::new(index)?;
        found.name = context.name()?;
        let (free, total) = context.mem_get_info()?;
        (found.free_bytes, found.total_bytes) = (free as u64, total as u64);
        context.compute_capability()
    };
    found.reason = match ask() {
        Ok(capability) if capability >= CAPABILITY => None,
        Ok((major, minor)) => Some(format!("Its compute capability is {major}.{minor}; 8.0 is needed.")),
        Err(error) => Some(format!("The NVIDIA driver answers {error:?}.")),
    };
    found
}

fn driver_version() -> std::result::Result<i32, DriverError> {
    let mut version = 0;
    // SAFETY: the driver writes one number through a pointer that is valid for the call.
    #[allow(unsafe_code)]
    unsafe {
        sys::cuDriverGetVersion(&raw mut version).result()?;
    }
    Ok(version)
}

pub(crate) fn open(index: usize) -> Result<Device> {
    // A stream of its own: the default one would be another for every thread.
    let device = Device::new_cuda_with_stream(index)?;
    if let Device::Cuda(cuda) = &device {
        // SAFETY: there is one stream, on which everything is queued in order, so nothing needs to be tracked.
        #[allow(unsafe_code)]
        unsafe {
            cuda.disable_event_tracking();
        }
        keep_freed_memory(cuda)?;
    }
    Ok(device)
}

pub(crate) fn memory(device: &CudaDevice) -> Result<(u64, u64)> {
    let (free, total) = device.cuda_stream().context().mem_get_info().w()?;
    // What the pool holds back is free to us.
    let of = |attribute| pool(device, attribute).unwrap_or(0);
    use sys::CUmemPool_attribute as Of;
    let held = of(Of::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT).saturating_sub(of(Of::CU_MEMPOOL_ATTR_USED_MEM_CURRENT));
    Ok((total as u64, free as u64 + held))
}

pub(crate) fn peak(device: &CudaDevice) -> Result<u64> {
    pool(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
}

pub(crate) fn reset_peak(device: &CudaDevice) {
    // A driver that refuses leaves the peak that of the process.
    drop(set_pool(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0));
}

/// Otherwise every synchronisation would give freed memory back to the system and the next layer ask for it anew.
fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
    set_pool(device, sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)
}

fn pool_of(device: &CudaDevice) -> std::result::Result<sys::CUmemoryPool, DriverError> {
    let stream = device.cuda_stream();
    stream.context().bind_to_thread()?;
    let mut pool = std::ptr::null_mut();
    let ordinal = result::device::get(stream.context().ordinal() as i32)?;
    // SAFETY: the driver writes one handle through a pointer that is valid for the call.
    #[allow(unsafe_code)]
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, ordinal).result()?;
    }
    Ok(pool)
}

fn pool(device: &CudaDevice, attribute: sys::CUmemPool_attribute) -> Result<u64> {
    let (pool, mut value) = (pool_of(device).w()?, 0u64);
    // SAFETY: the attributes asked for are 64-bit numbers, written through a pointer that is valid for the call.
    #[allow(unsafe_code)]
    unsafe {
        sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut value).cast()).result().w()?;
    }
    Ok(value)
}

fn set_pool(device: &CudaDevice, attribute: sys::CUmemPool_attribute, mut value: u64) -> Result<()> {
    let pool = pool_of(device).w()?;
    // SAFETY: the attributes set are 64-bit numbers, read through a pointer that is valid for the call.
    #[allow(unsafe_code)]
    unsafe {
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut value).cast()).result().w()?;
    }
    Ok(())
}
