use std::ops::Range;

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use skimlm_core::Result;
use skimlm_kernels::linear::BlockType;

use crate::fail::{corrupt, refuse_no_model, unsupported};

/// What the header of a file says about one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its sizes, the slowest running first.
    pub shape: Vec<usize>,
    /// Its number format.
    pub kind: Dtype,
    /// Number of values.
    pub elements: u64,
    /// Which of the checkpoint's files it is in, from 0.
    pub file: usize,
    /// Its bytes in that file.
    pub range: Range<usize>,
}

impl TensorInfo {
    /// The kernel's format, if there is a kernel.
    pub fn block(&self) -> Option<BlockType> {
        match self.kind {
            Dtype::F32 => Some(BlockType::F32),
            Dtype::F16 => Some(BlockType::F16),
            Dtype::BF16 => Some(BlockType::BF16),
            _ => None,
        }
    }
}

/// Bytes of the number that a file starts with.
const LENGTH: usize = 8;
/// The longest header that the format allows.
const LONGEST: u64 = 100_000_000;

/// Reads the header of a file. Its length is compared with the file's size first, and the end of the
/// tensors afterwards; the list between is read by the `safetensors` crate.
pub(super) fn parse(bytes: &[u8], file: usize) -> Result<Vec<TensorInfo>> {
    refuse_other_formats(bytes)?;
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
        let what = format!("the file has {} bytes, too few for a header. Download it again.", bytes.len());
        return Err(corrupt(what).with("fileBytes", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().filter(|_| length <= LONGEST).and_then(|length| rest.get(..length));
    let Some(header) = header else {
        return Err(corrupt(format!(
            "the header claims {length} bytes; at most {} fit into the file. It is cut short or damaged: download it \
             again.",
            LONGEST.min(rest.len() as u64)
        ))
        .with("claimed", length)
        .with("fileBytes", bytes.len()));
    };
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|error| corrupt(format!("the header cannot be read: {error}.")).caused_by(error))?;
    let (start, held) = (LENGTH + header.len(), rest.len() - header.len());
    // The crate has made sure that the tensors lie one behind the other without a gap.
    if metadata.data_len() != held {
        let what = if metadata.data_len() > held { "it is cut short or damaged" } else { "it is damaged" };
        return Err(corrupt(format!(
            "the tensors end at byte {} of the data, the file has {held}: {what}. Download it again.",
            metadata.data_len()
        ))
        .with("end", metadata.data_len())
        .with("fileBytes", bytes.len()));
    }
    let mut tensors: Vec<TensorInfo> = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| TensorInfo {
            name,
            elements: info.shape.iter().fold(1u64, |all, &size| all.saturating_mul(size as u64)),
            shape: info.shape.clone(),
            kind: info.dtype,
            file,
            range: start + info.data_offsets.0..start + info.data_offsets.1,
        })
        .collect();
    tensors.sort_by(|a, b| (a.range.start, &a.name).cmp(&(b.range.start, &b.name)));
    Ok(tensors)
}

fn refuse_other_formats(bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(b"GGUF") {
        return Err(unsupported("this is a GGUF file with another name. Open it by its path, named `.gguf`."));
    }
    refuse_no_model(bytes)
}
