use candle_core::Device;

use crate::error::Error;
#[cfg(feature = "cuda")]
use crate::gpu::Gpu;

/// A step that can be done again.
pub struct Replay<S> {
    #[cfg(feature = "cuda")]
    graph: Option<(crate::gpu::Driver, Recording)>,
    /// What the recording reads and writes is the step's; on the CPU it is simply called.
    step: S,
}

#[cfg(feature = "cuda")]
type Recording = <crate::gpu::Driver as Gpu>::Recording;

/// Does `step` once and, on a GPU, records it then, so that its kernels start as one graph. On the CPU nothing is gained.
///
/// Between one call and the next `step` may differ by what it finds on the device only; it must own or keep alive what it
/// uses there. On failure a part of the step, or all of it, has been done.
pub fn record<S, E>(device: &Device, mut step: S) -> Result<Replay<S>, E>
where
    S: FnMut() -> Result<(), E>,
    E: From<Error>,
{
    #[cfg(feature = "cuda")]
    if let Device::Cuda(cuda) = device {
        // Shapes that the library's kernels read from memory are uploaded once and found again while recording.
        let _kept = cuda.enable_cuda_graph_htod_cache();
        let gpu = crate::gpu::Driver::of(cuda)?;
        step()?;
        let recording = gpu.record(&mut step)?;
        return Ok(Replay { graph: Some((gpu, recording)), step });
    }
    let _ = device;
    step()?;
    Ok(Replay {
        #[cfg(feature = "cuda")]
        graph: None,
        step,
    })
}

impl<S, E> Replay<S>
where
    S: FnMut() -> Result<(), E>,
    E: From<Error>,
{
    /// Does the step once more; a GPU is not waited for.
    pub fn run(&mut self) -> Result<(), E> {
        #[cfg(feature = "cuda")]
        if let Some((gpu, recording)) = &self.graph {
            return Ok(gpu.replay(recording)?);
        }
        (self.step)()
    }
}
