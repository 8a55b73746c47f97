use candle_core::Device;
use skimlm_core::Result;
use skimlm_kernels::linear::Activations;

use crate::decoder::Decoder;
use crate::source::Source;
use crate::weights::Weights;
use crate::weights::quantized::{Quantization, Quantized};
use crate::weights::rounded::Rounded;

/// A model ready to run.
#[derive(Debug)]
pub struct Opened {
    /// The weights.
    pub model: Decoder,
    /// The file or folder, for what it says about text.
    pub source: Source,
}

/// Gets the bytes done and their total. Its error ends the loading and is returned: a cancelled
/// caller answers `ERR_CANCELLED` here.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> Result<()>;

/// How a model is opened.
pub struct OpenOptions<'a> {
    /// Where it runs.
    pub device: Device,
    /// Look through all weights for NaN and infinities.
    pub verify: bool,
    /// Bring float weights to a smaller format while they are read.
    pub quantize: Option<Quantization>,
    /// How finely layers may round what they multiply with the weights.
    pub activations: Activations,
    /// Called as weights are read.
    pub progress: Option<Progress<'a>>,
}

impl Default for OpenOptions<'_> {
    fn default() -> Self {
        Self { device: Device::Cpu, verify: false, quantize: None, activations: Activations::default(), progress: None }
    }
}

/// Opens a model whose headers have been read.
///
/// Weights stay in the mapped files. With `quantize` float ones are copied in the smaller format, one
/// matrix at a time, which takes the memory of the result and of one matrix.
///
/// Errors: `ERR_MODEL_CORRUPT`, `ERR_MODEL_UNSUPPORTED`, and whatever the progress callback answers. With `quantize`
/// all shapes are checked before the work begins; otherwise a missing or misshapen part ends the loading when its turn
/// comes.
pub fn open_source(source: Source, options: OpenOptions<'_>) -> Result<Opened> {
    let weights = source.weights()?;
    let mut silent = |_, _| Ok(());
    let progress = options.progress.unwrap_or(&mut silent);
    let rounded =
        |inner: &dyn Weights| Decoder::new(&Rounded { inner, activations: options.activations }, &options.device);
    let model = match options.quantize {
        Some(to) => {
            let quantized = Quantized::new(&*weights, to, progress)?;
            if options.verify {
                // Nothing of the result is done meanwhile, but the caller may end the loading.
                source.scan(true, &mut |_, _| quantized.report(0))?;
            }
            rounded(&quantized)?
        }
        None => {
            let model = rounded(&*weights)?;
            source.scan(options.verify, progress)?;
            model
        }
    };
    drop(weights);
    Ok(Opened { model, source })
}
