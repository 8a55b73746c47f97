use std::path::Path;

use candle_core::Device;
use skimlm_core::Result;

use crate::decoder::Decoder;
use crate::info::{self, ModelInfo};
use crate::locate::locate;
use crate::weights::Weights;
use crate::weights::gguf::Gguf;

/// A model ready to run.
#[derive(Debug)]
pub struct Opened {
    /// The weights.
    pub model: Decoder,
    /// The file, for the tokenizer's metadata.
    pub gguf: Gguf,
    /// What its header says.
    pub info: ModelInfo,
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
    /// Called as weights are read.
    pub progress: Option<Progress<'a>>,
}

impl Default for OpenOptions<'_> {
    fn default() -> Self {
        Self { device: Device::Cpu, verify: false, progress: None }
    }
}

/// Opens a model on the CPU. See [`open_with`].
pub fn open(path: &Path) -> Result<Opened> {
    open_with(path, OpenOptions::default())
}

/// Opens a model: `path` is a GGUF file, or a folder with exactly one.
///
/// Errors: `ERR_MODEL_NOT_FOUND`, `ERR_MODEL_CORRUPT`, `ERR_MODEL_UNSUPPORTED`, and whatever the
/// progress callback answers. All shapes are checked before any weight is read.
pub fn open_with(path: &Path, options: OpenOptions<'_>) -> Result<Opened> {
    let gguf = Gguf::open(&locate(path)?)?;
    let weights = gguf.weights()?;
    let filter_layer = weights.family().default_filter_layer(weights.config());
    let info = info::of(&gguf, weights.config(), filter_layer)?;
    let model = Decoder::new(&weights, &options.device)?;
    gguf.scan(options.verify, options.progress.unwrap_or(&mut |_, _| Ok(())))?;
    Ok(Opened { model, gguf, info })
}
