//! Kernels on a GPU through the CUDA driver.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaGraph, CudaModule, CudaSlice, CudaStream, DevicePtr, DriverError, result,
    sys::{self, CUresult as Code},
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CudaDevice, CudaStorage, Device, Tensor};

use super::{Gpu, Launch};
use crate::error::{Error, Result};

/// Machine code for the processors we name and PTX for later ones, a file of kernels each; `build.rs` lists them.
static IMAGES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// One device and what is loaded on it.
pub(crate) struct Driver {
    device: Device,
    stream: Arc<CudaStream>,
    loaded: Arc<Loaded>,
}

/// The kernels of one context, loaded when first asked for.
struct Loaded {
    processors: usize,
    /// Bytes of shared memory a block may have.
    shared: i32,
    modules: Vec<Arc<CudaModule>>,
    functions: Mutex<HashMap<String, CudaFunction>>,
}

static CONTEXTS: LazyLock<Mutex<HashMap<usize, Arc<Loaded>>>> = LazyLock::new(Mutex::default);

impl Driver {
    pub(crate) fn of(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        let context = stream.context();
        let mut contexts = CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match contexts.get(&(context.cu_ctx() as usize)) {
            Some(loaded) => Arc::clone(loaded),
            None => {
                use sys::CUdevice_attribute as Of;
                let modules = IMAGES.iter().map(|(name, image)| {
                    let module = context.load_module(Ptx::from_binary(image.to_vec()));
                    module.map_err(|error| refusal(name, error))
                });
                let loaded = Arc::new(Loaded {
                    processors: context.attribute(Of::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).w()?.max(1) as usize,
                    shared: context.attribute(Of::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN).w()?,
                    modules: modules.collect::<Result<_>>()?,
                    functions: Mutex::default(),
                });
                contexts.insert(context.cu_ctx() as usize, Arc::clone(&loaded));
                loaded
            }
        };
        Ok(Self { device: Device::Cuda(device.clone()), stream, loaded })
    }

    fn function(&self, name: &str) -> Result<CudaFunction> {
        let mut functions = self.loaded.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(function.clone());
        }
        let found = self.loaded.modules.iter().find_map(|module| match module.load_function(name) {
            Err(DriverError(Code::CUDA_ERROR_NOT_FOUND)) => None,
            loaded => Some(loaded),
        });
        let missing = || Error::Unsupported { op: "launch", what: format!("the kernel {name}") };
        let function = found.ok_or_else(missing)?.w()?;
        // More than 48 KiB a block must be asked for, once a function.
        let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(most, self.loaded.shared).w()?;
        functions.insert(name.to_owned(), function.clone());
        Ok(function)
    }
}

/// No image for the processor, or a driver that cannot compile one, is a fact about the device, not a mistake; all else
/// is the driver's failure.
fn refusal(name: &str, error: DriverError) -> Error {
    match error.0 {
        Code::CUDA_ERROR_NO_BINARY_FOR_GPU
        | Code::CUDA_ERROR_INVALID_PTX
        | Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        | Code::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
        | Code::CUDA_ERROR_JIT_COMPILATION_DISABLED => {
            Error::Unsupported { op: "launch", what: format!("the kernels of {name} on this GPU ({error})") }
        }
        _ => failure(error),
    }
}

/// What the driver says, as the tensor library would pass it on: want of memory is told by its code.
fn failure(error: DriverError) -> Error {
    Error::Tensor(candle_core::Error::Cuda(Box::new(error)))
}

impl Gpu for Driver {
    fn device(&self) -> &Device {
        &self.device
    }

    fn processors(&self) -> usize {
        self.loaded.processors
    }

    fn launch(&self, launch: Launch<&Tensor>) -> Result<()> {
        let Some([x, y, z]) = launch.blocks()? else { return Ok(()) };
        let function = self.function(&launch.kernel)?;
        self.stream.context().bind_to_thread().w()?;
        let start = if launch.cooperative { result::launch_cooperative_kernel } else { result::launch_kernel };
        launch.with_parameters(&self.device, |parameters| {
            // SAFETY: parameters are in the order and of the types that the kernel declares, and each operation's
            // `cuda.rs` has checked the sizes. The tensors are locked here; what is done to them later, freeing
            // included, is queued on the same stream behind the kernel.
            #[allow(unsafe_code)]
            let started = unsafe {
                start(
                    function.cu_function(),
                    (x, y, z),
                    (launch.threads as u32, 1, 1),
                    launch.shared as u32,
                    self.stream.cu_stream(),
                    parameters,
                )
            };
            Ok(started.w()?)
        })
    }

    type Recording = CudaGraph;

    fn record<E: From<Error>>(
        &self,
        work: impl FnOnce() -> std::result::Result<(), E>,
    ) -> std::result::Result<CudaGraph, E> {
        let stop = |error: DriverError| E::from(failure(error));
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(stop)?;
        let done = work();
        // What could not be freed inside is remembered, and would keep the capture from being ended.
        let inside = self.stream.context().check_err();
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        done?;
        inside.map_err(stop)?;
        graph.map_err(stop)?.ok_or_else(|| E::from(refused("the driver recorded nothing".into())))
    }

    fn replay(&self, recording: &CudaGraph) -> Result<()> {
        Ok(recording.launch().w()?)
    }

    /// The copy would be made from memory that is gone when the graph runs.
    fn upload<T: candle_core::WithDType>(&self, values: Vec<T>) -> Result<Tensor> {
        use sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE as NONE;
        if self.stream.capture_status().w()? != NONE {
            return Err(refused("numbers from the host in a recorded step".into()));
        }
        let len = values.len();
        Ok(Tensor::from_vec(values, len, &self.device)?)
    }
}

fn refused(what: String) -> Error {
    Error::Invalid { op: "record", what }
}

/// Where the numbers of a tensor start, from its element `start` on.
pub(super) fn address(storage: &CudaStorage, start: usize) -> candle_core::Result<u64> {
    fn of<T>(slice: &CudaSlice<T>, start: usize) -> u64 {
        // One stream for everything, so there is nothing to wait for.
        slice.device_ptr(slice.stream()).0 + (start * size_of::<T>()) as u64
    }
    match &storage.slice {
        CudaStorageSlice::U32(slice) => Ok(of(slice, start)),
        CudaStorageSlice::F32(slice) => Ok(of(slice, start)),
        CudaStorageSlice::F16(slice) => Ok(of(slice, start)),
        CudaStorageSlice::BF16(slice) => Ok(of(slice, start)),
        _ => candle_core::bail!("launch: a tensor of an unknown type"),
    }
}
