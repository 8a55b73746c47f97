//! Folders as Hugging Face lays them out: `config.json` and weights in safetensors files, with the
//! tokenizer's files beside them.
//!
//! Weights are mapped; a tensor that does not start at a multiple of 4 bytes is copied. No header is trusted: its
//! length is compared with the file's size before it is read, and no number in it decides an allocation.

mod files;
mod header;
mod parts;
mod words;
#[cfg(any(test, feature = "test-util"))]
pub mod write;

#[cfg(test)]
mod tests;

pub use header::TensorInfo;
pub use parts::FolderWeights;
pub use safetensors::Dtype;
pub use words::Words;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skimlm_core::Result;
use skimlm_kernels::linear::{Bytes, Weight};

use super::index;
use super::map::{Mapped, map};
use super::scan::{self, Listed};
use crate::fail::{corrupt, in_file, unsupported};
use crate::families::ConfigJson;

/// An open folder: its settings, and its tensors on demand.
pub struct Folder {
    path: PathBuf,
    settings: Box<ConfigJson>,
    files: Vec<Arc<Mapped>>,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

impl Folder {
    /// Reads `config.json`, maps the weights and reads their headers.
    ///
    /// `ERR_MODEL_NOT_FOUND` if a file is not there, with `{ missing }` for shards;
    /// `ERR_MODEL_CORRUPT` if one is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let settings = Box::new(files::settings(path)?);
        let (mut files, mut tensors) = (Vec::new(), Vec::new());
        for name in files::weights(path)? {
            let file = path.join(name);
            let owner = map(&file).map_err(in_file(&file))?;
            tensors.extend(header::parse((*owner).as_ref(), files.len()).map_err(in_file(&file))?);
            files.push(owner);
        }
        let index = index(tensors.iter().map(|info| info.name.as_str())).map_err(in_file(path))?;
        Ok(Self { path: path.into(), settings, files, tensors, index })
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in the order of the files.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// What a header says about a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).and_then(|&i| self.tensors.get(i))
    }

    /// A tensor as a matrix `[rows, cols]`, or some of its rows, sharing the map; a vector is one row.
    /// `ERR_MODEL_CORRUPT` if it is not there, `ERR_MODEL_UNSUPPORTED` with `{ tensor, type, supported }`
    /// if its number format has no kernel.
    pub fn tensor(&self, name: &str, rows: Option<Range<usize>>) -> Result<Weight> {
        self.read(name, rows).map_err(|error| in_file(&self.path)(error.with("tensor", name)))
    }

    fn read(&self, name: &str, rows: Option<Range<usize>>) -> Result<Weight> {
        let info = self
            .info(name)
            .ok_or_else(|| corrupt(format!("the tensor `{name}` is missing. Convert or download the model again.")))?;
        let Some(block) = info.block() else {
            return Err(unsupported(format!(
                "tensor `{name}` has the number format {:?}; F32, F16 and BF16 can be run. Use another checkpoint.",
                info.kind
            ))
            .with("type", format!("{:?}", info.kind))
            .with("supported", vec!["F32", "F16", "BF16"]));
        };
        let (count, cols) = match *info.shape.as_slice() {
            [cols] if info.elements > 0 => (1, cols),
            [rows, cols] if info.elements > 0 => (rows, cols),
            _ => {
                return Err(corrupt(format!(
                    "tensor `{name}` is {:?}, neither a matrix nor a vector with values.",
                    info.shape
                )));
            }
        };
        let rows = rows.unwrap_or(0..count);
        if rows.start > rows.end || rows.end > count {
            return Err(corrupt(format!("tensor `{name}` is {:?} and has no rows {rows:?}.", info.shape)));
        }
        let damaged = |error: skimlm_kernels::Error| corrupt(format!("tensor `{name}`: {error}.")).caused_by(error);
        // No overflow: the header's end lies inside the file, and rows are a part of it.
        let row = cols * block.type_size();
        let range = info.range.start + rows.start * row..info.range.start + rows.end * row;
        let file: Arc<Mapped> = Arc::clone(&self.files[info.file]);
        let bytes = Bytes::new(Arc::clone(&file) as _, range.clone()).map_err(damaged)?;
        let bytes = if Weight::shares(bytes.as_slice()) {
            bytes
        } else {
            let copy = file.copy(range);
            let all = 0..copy.len();
            Bytes::new(Arc::new(copy), all).map_err(damaged)?
        };
        Weight::new(block, rows.len(), cols, bytes).map_err(damaged)
    }

    /// Gives the memory of a tensor's map back.
    pub(crate) fn release(&self, name: &str) {
        if let Some(info) = self.info(name) {
            self.files[info.file].release(info.range.clone());
        }
    }

    /// Reads all tensors, as for a GGUF file and with the same errors.
    pub fn scan(&self, verify: bool, progress: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<()> {
        scan::scan(&self.listed(), verify, progress).map_err(in_file(&self.path))
    }

    pub(crate) fn listed(&self) -> Vec<Listed<'_>> {
        self.tensors.iter().map(|info| self.list(info)).collect()
    }

    fn list<'a>(&'a self, info: &'a TensorInfo) -> Listed<'a> {
        let bytes = (*self.files[info.file]).as_ref().get(info.range.clone()).unwrap_or_default();
        let TensorInfo { name, kind, elements, .. } = info;
        Listed { name, kind: format!("{kind:?}"), block: info.block(), elements: *elements, bytes }
    }
}

/// What the header of a safetensors file says, from the file's bytes. Errors as in [`Folder::open`].
pub fn read_header(file: &[u8]) -> Result<Vec<TensorInfo>> {
    header::parse(file, 0)
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder").field("path", &self.path).field("tensors", &self.tensors.len()).finish()
    }
}
