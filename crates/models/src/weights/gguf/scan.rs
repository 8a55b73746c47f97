use skimlm_core::Result;

use super::{Gguf, TensorInfo, TensorType};
use crate::fail::{corrupt, in_file};

/// Bytes between two reports; a multiple of every block's size is cut from it.
const STEP: usize = 16 << 20;
const PAGE: usize = 4096;

impl Gguf {
    /// Reads every tensor's pages into memory, so that the first answer does not wait for the disk,
    /// and with `verify` looks for NaN and infinities in floats and in the scales of blocks.
    ///
    /// `progress` gets the bytes done and their total; its error ends the scan and is returned.
    pub fn scan(&self, verify: bool, progress: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<()> {
        let total = self.tensors().iter().map(|info| info.range.len() as u64).sum();
        let mut done = 0;
        progress(done, total)?;
        for info in self.tensors() {
            let bytes = self.bytes().get(info.range.clone()).unwrap_or_default();
            let block = info.kind.layout().map_or(1, |(_, bytes)| bytes as usize);
            for (i, piece) in bytes.chunks(STEP / block * block).enumerate() {
                if verify {
                    let first = i * (STEP / block);
                    check(info, piece, first).map_err(in_file(self.path()))?;
                } else {
                    std::hint::black_box(piece.iter().step_by(PAGE).fold(0u8, |all, byte| all ^ byte));
                }
                done += piece.len() as u64;
                progress(done, total)?;
            }
        }
        Ok(())
    }
}

/// `first` is the number of the piece's first block.
fn check(info: &TensorInfo, piece: &[u8], first: usize) -> Result<()> {
    let Some((_, bytes)) = info.kind.layout() else { return Ok(()) };
    let blocks = piece.chunks_exact(bytes as usize);
    let bad = match info.kind {
        TensorType(0) => blocks.clone().position(|b| high(b, 2) & 0x7F80 == 0x7F80),
        TensorType(30) => blocks.clone().position(|b| high(b, 0) & 0x7F80 == 0x7F80),
        TensorType(1) => blocks.clone().position(|b| high(b, 0) & 0x7C00 == 0x7C00),
        kind => {
            let scales = kind.scales();
            blocks.clone().position(|b| scales.iter().any(|&at| high(b, at) & 0x7C00 == 0x7C00))
        }
    };
    match bad {
        None => Ok(()),
        Some(block) => Err(corrupt(format!(
            "tensor `{}` holds NaN or infinity in block {} of {}: the file is damaged. Download it again.",
            info.name,
            first + block,
            info.kind
        ))
        .with("tensor", info.name.clone())
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
