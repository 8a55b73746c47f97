//! Reading all weights once: for the pages, for the progress, and for NaN.

use skimlm_core::Result;
use skimlm_kernels::linear::{BlockType, Weight};

use super::gguf::TensorType;
use crate::fail::corrupt;

/// Bytes between two reports; a multiple of every block's size is cut from it.
const STEP: usize = 16 << 20;
const PAGE: usize = 4096;

/// A tensor of a file, in either format.
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a str,
    /// The number format's name.
    pub(crate) kind: String,
    /// The kernel's format, if there is a kernel.
    pub(crate) block: Option<BlockType>,
    pub(crate) elements: u64,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Listed<'a> {
    pub(crate) fn new(name: &'a str, kind: TensorType, elements: u64, bytes: &'a [u8]) -> Self {
        Self { name, kind: kind.to_string(), block: kind.block(), elements, bytes }
    }
}

/// Reads every tensor's pages into memory, so that the first answer does not wait for the disk,
/// and with `verify` looks for NaN and infinities in floats and in the scales of blocks.
///
/// `progress` gets the bytes done and their total; its error ends the scan and is returned.
pub(crate) fn scan(
    tensors: &[Listed<'_>],
    verify: bool,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let total = tensors.iter().map(|tensor| tensor.bytes.len() as u64).sum();
    let mut done = 0;
    progress(done, total)?;
    for tensor in tensors {
        let block = tensor.block.map_or(1, |block| block.type_size());
        for (i, piece) in tensor.bytes.chunks(STEP / block * block).enumerate() {
            match tensor.block.filter(|_| verify) {
                Some(kind) => check(tensor, kind, piece, i * (STEP / block))?,
                // What has been copied is in memory and not read again here.
                None if !Weight::shares(tensor.bytes) => {}
                None => drop(std::hint::black_box(piece.iter().step_by(PAGE).fold(0u8, |all, byte| all ^ byte))),
            }
            done += piece.len() as u64;
            progress(done, total)?;
        }
    }
    Ok(())
}

/// `first` is the number of the piece's first block.
fn check(tensor: &Listed<'_>, block: BlockType, piece: &[u8], first: usize) -> Result<()> {
    let mut blocks = piece.chunks_exact(block.type_size());
    let bad = match block {
        BlockType::F32 => blocks.position(|b| high(b, 2) & 0x7F80 == 0x7F80),
        BlockType::BF16 => blocks.position(|b| high(b, 0) & 0x7F80 == 0x7F80),
        BlockType::F16 => blocks.position(|b| high(b, 0) & 0x7C00 == 0x7C00),
        _ => {
            let scales = scales(block);
            blocks.position(|b| scales.iter().any(|&at| high(b, at) & 0x7C00 == 0x7C00))
        }
    };
    match bad {
        None => Ok(()),
        Some(block) => Err(corrupt(format!(
            "tensor `{}` holds NaN or infinity in block {} of {}: the file is damaged. Download it again.",
            tensor.name,
            first + block,
            tensor.kind
        ))
        .with("tensor", tensor.name)
        .with("block", first + block)),
    }
}

/// The 16 bits at `at`: of a float, those with the exponent.
fn high(block: &[u8], at: usize) -> u16 {
    match block.get(at..at + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    }
}

/// Where the 16-bit float scales of a block start, in bytes from its start.
fn scales(block: BlockType) -> &'static [usize] {
    match block {
        BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q8_0 => &[0],
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        BlockType::Q2K => &[80, 82],
        BlockType::Q3K => &[108],
        BlockType::Q6K => &[208],
        _ => &[],
    }
}
