use skimlm_core::Result;

use crate::fail::{corrupt, hex, refuse_no_model};

/// Fails unless the file starts as a GGUF does, and says what it is instead where that is known.
pub(super) fn check(file: &[u8]) -> Result<()> {
    if file.starts_with(b"GGUF") {
        return Ok(());
    }
    refuse_no_model(file)?;
    let (kind, what) = if file.is_empty() {
        ("empty", "the file is empty. Download it again.")
    } else if [b"ggml", b"lmgg", b"ggjt", b"tjgg", b"ggmf", b"fmgg"].iter().any(|magic| file.starts_with(*magic)) {
        ("GGML", "this is a GGML file from before GGUF. Convert the model again.")
    } else if file.starts_with(b"PK\x03\x04") {
        ("zip", "this is a zip archive (a PyTorch checkpoint?), not a GGUF file. Convert the model first.")
    } else if file.get(8) == Some(&b'{') && file.get(4..8) == Some(&[0; 4]) {
        ("safetensors", "this is a safetensors file. Name the folder that holds it and its config.json.")
    } else {
        ("unknown", "the file does not start with `GGUF`, so it is not a GGUF model.")
    };
    Err(corrupt(what).with("looksLike", kind).with("startsWith", hex(file)))
}
