//! GGUF files: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.
//!
//! A model may be split over several files; the first holds the metadata. Files are mapped: metadata and tensors are
//! borrowed from the maps, but a tensor that does not start at a multiple of 4 bytes is copied. The header is not
//! trusted. Every length is compared with the file's size before it is used, no number in it decides an allocation, and
//! every tensor's end is checked before a tensor is handed out.

mod cursor;
mod header;
mod magic;
mod metadata;
mod parts;
mod split;
mod tensor;
mod value;
#[cfg(any(test, feature = "test-util"))]
pub mod write;

#[cfg(test)]
mod tests;

pub use parts::GgufWeights;
pub(crate) use split::part_of;
pub use tensor::{TensorInfo, TensorType};
pub use value::{Array, Value};

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skimlm_core::Result;
use skimlm_kernels::linear::{Bytes, Weight};

pub use super::map::Owner;
use super::map::{Mapped, map};
use super::scan::{self, Listed};
use crate::fail::{corrupt, in_file, unsupported};
use header::Header;

/// An open GGUF model: its header, and its tensors on demand.
pub struct Gguf {
    /// One, or the parts of a split model in their order.
    files: Vec<File>,
    /// Of the first file.
    path: PathBuf,
    header: Header,
}

/// One file in memory.
#[derive(Clone)]
struct File {
    bytes: Owner,
    /// The same memory, if it is a map.
    map: Option<Arc<Mapped>>,
}

impl From<Arc<Mapped>> for File {
    fn from(map: Arc<Mapped>) -> Self {
        Self { bytes: Arc::clone(&map) as _, map: Some(map) }
    }
}

impl File {
    fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }
}

impl Gguf {
    /// Maps a file, or all parts of the split model that it belongs to, and reads the headers.
    /// `ERR_MODEL_NOT_FOUND` if one cannot be read, with `{ missing }` where parts are not there;
    /// `ERR_MODEL_CORRUPT` if one is not a GGUF file or damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let gguf = map(path).and_then(|map| Self::parse(map.into(), path.into())).map_err(in_file(path))?;
        match gguf.split_count()? {
            0 | 1 => Ok(gguf),
            count => split::join(gguf, count),
        }
    }

    /// The same for a whole file that lies in memory already; `ERR_MODEL_CORRUPT` if it is not one.
    pub fn from_bytes(owner: Owner) -> Result<Self> {
        Self::parse(File { bytes: owner, map: None }, "(in memory)".into())
    }

    fn parse(file: File, path: PathBuf) -> Result<Self> {
        let header = header::parse(file.bytes())?;
        Ok(Self { files: vec![file], path, header })
    }

    /// How many files the model says it is split over.
    fn split_count(&self) -> Result<u32> {
        Ok(self.get_u32("split.count")?.unwrap_or(0))
    }

    /// Where the file was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in the order of the files.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// What the header says about a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.index.get(name).and_then(|&i| self.header.tensors.get(i))
    }

    /// A tensor as a matrix `[rows, cols]` in its own number format, sharing the map. A vector is one
    /// row; further dimensions count as rows. `ERR_MODEL_CORRUPT` if it is not there,
    /// `ERR_MODEL_UNSUPPORTED` with `{ tensor, type, supported }` if its format has no kernel.
    pub fn tensor(&self, name: &str) -> Result<Weight> {
        let info = self.expect(name)?;
        let rows = info.elements / info.dims[0];
        self.tensor_rows(name, 0..rows as usize)
    }

    /// Some rows of a tensor: fused projections are stored below each other. Errors as in
    /// [`Gguf::tensor`]; rows that are not there are `ERR_MODEL_CORRUPT`.
    pub fn tensor_rows(&self, name: &str, rows: Range<usize>) -> Result<Weight> {
        let info = self.expect(name)?;
        let cols = info.dims[0] as usize;
        let (Some(block), Some((values, bytes))) = (info.kind.block(), info.kind.layout()) else {
            let supported = TensorType::supported();
            return Err(in_file(&self.path)(
                unsupported(format!(
                    "tensor `{name}` has the number format {}; {} can be run. Use another quantisation of the model.",
                    info.kind,
                    supported.join(", ")
                ))
                .with("tensor", name)
                .with("type", info.kind.to_string())
                .with("supported", supported),
            ));
        };
        let row = cols / values as usize * bytes as usize;
        let damaged = |error: skimlm_kernels::Error| {
            in_file(&self.path)(corrupt(format!("tensor `{name}`: {error}.")).with("tensor", name).caused_by(error))
        };
        if rows.start > rows.end || rows.end > info.range.len() / row {
            return Err(in_file(&self.path)(
                corrupt(format!("tensor `{name}` has no rows {rows:?}.")).with("tensor", name),
            ));
        }
        let range = info.range.start + rows.start * row..info.range.start + rows.end * row;
        let bytes = Bytes::new(Arc::clone(&self.files[info.file].bytes), range).map_err(damaged)?;
        Weight::new(block, rows.len(), cols, bytes).map_err(damaged)
    }

    fn expect(&self, name: &str) -> Result<&TensorInfo> {
        self.info(name).ok_or_else(|| {
            in_file(&self.path)(
                corrupt(format!("the tensor `{name}` is missing. Convert or download the model again."))
                    .with("tensor", name),
            )
        })
    }

    /// Gives the memory of a tensor's map back.
    pub(crate) fn release(&self, name: &str) {
        let Some(info) = self.info(name) else { return };
        if let Some(map) = &self.files[info.file].map {
            map.release(info.range.clone());
        }
    }

    /// Reads all tensors into memory, and with `verify` looks for NaN and infinities. `progress` gets the
    /// bytes done and their total; its error ends the scan and is returned.
    pub fn scan(&self, verify: bool, progress: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<()> {
        scan::scan(&self.listed(), verify, progress).map_err(in_file(&self.path))
    }

    pub(crate) fn listed(&self) -> Vec<Listed<'_>> {
        let bytes = |info: &TensorInfo| self.files[info.file].bytes().get(info.range.clone()).unwrap_or_default();
        self.tensors().iter().map(|info| Listed::new(&info.name, info.kind, info.elements, bytes(info))).collect()
    }

    /// The first file, which holds the metadata.
    fn bytes(&self) -> &[u8] {
        self.files.first().map_or(&[], File::bytes)
    }
}

impl std::fmt::Debug for Gguf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gguf").field("path", &self.path).field("tensors", &self.tensors().len()).finish()
    }
}
