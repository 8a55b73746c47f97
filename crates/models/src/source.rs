use std::path::Path;

use skimlm_core::Result;

use crate::locate::locate;
use crate::weights::Weights;
use crate::weights::gguf::Gguf;
use crate::weights::safetensors::Folder;
use crate::weights::scan::Listed;

/// A model on disk, in either format.
#[derive(Debug)]
pub enum Source {
    /// A GGUF file, or several that belong together.
    Gguf(Gguf),
    /// A folder with `config.json` and safetensors files.
    Folder(Folder),
}

impl Source {
    /// Reads the headers of the model that a path means, and no weights: of a GGUF file, any part of a split one, a
    /// folder with exactly one, or a folder with `config.json` and safetensors files.
    ///
    /// `ERR_MODEL_NOT_FOUND` if a file is not there, `ERR_MODEL_CORRUPT` or `ERR_MODEL_UNSUPPORTED` if it is no model.
    pub fn open(path: &Path) -> Result<Self> {
        let path = locate(path)?;
        if path.is_dir() { Folder::open(&path).map(Self::Folder) } else { Gguf::open(&path).map(Self::Gguf) }
    }

    /// The model as weights of its family. `ERR_MODEL_UNSUPPORTED` if there is none or if it holds weights that the decoder
    /// would leave out, `ERR_MODEL_CORRUPT` if its settings contradict each other.
    pub fn weights(&self) -> Result<Box<dyn Weights + '_>> {
        Ok(match self {
            Self::Gguf(gguf) => Box::new(gguf.weights()?),
            Self::Folder(folder) => Box::new(folder.weights()?),
        })
    }

    /// Reads all weights once: into memory, and with `verify` for NaN and infinities. `progress` gets
    /// the bytes done and their total; its error ends the scan and is returned.
    pub fn scan(&self, verify: bool, progress: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<()> {
        match self {
            Self::Gguf(gguf) => gguf.scan(verify, progress),
            Self::Folder(folder) => folder.scan(verify, progress),
        }
    }

    /// The Jinja chat template, if the model has one; `ERR_MODEL_CORRUPT` where it cannot be read.
    pub fn chat_template(&self) -> Result<Option<String>> {
        match self {
            Self::Gguf(gguf) => Ok(gguf.get_str("tokenizer.chat_template")?.map(str::to_owned)),
            Self::Folder(folder) => Ok(folder.words()?.chat_template),
        }
    }

    pub(crate) fn listed(&self) -> Vec<Listed<'_>> {
        match self {
            Self::Gguf(gguf) => gguf.listed(),
            Self::Folder(folder) => folder.listed(),
        }
    }
}
