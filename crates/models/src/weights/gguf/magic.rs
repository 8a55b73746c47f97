use skimlm_core::Result;

use crate::fail::corrupt;

/// Fails unless the file starts as a GGUF does, and says what it is instead where that is known.
pub(super) fn check(file: &[u8]) -> Result<()> {
    if file.starts_with(b"GGUF") {
        return Ok(());
    }
    let head = &file[..file.len().min(512)];
    let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let (kind, what) = if file.is_empty() {
        ("empty", "the file is empty. Download it again.")
    } else if text.starts_with("version https://git-lfs") {
        (
            "git-lfs pointer",
            "this is a git-lfs pointer, not the model: run `git lfs pull`, or download the file itself.",
        )
    } else if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        ("HTML", "this is an HTML page, not a model: the download link led to a web page. Use the direct link.")
    } else if [b"ggml", b"lmgg", b"ggjt", b"tjgg", b"ggmf", b"fmgg"].iter().any(|magic| file.starts_with(*magic)) {
        ("GGML", "this is a GGML file from before GGUF. Convert the model again.")
    } else if file.starts_with(b"PK\x03\x04") {
        ("zip", "this is a zip archive (a PyTorch checkpoint?), not a GGUF file. Convert the model first.")
    } else if file.get(8) == Some(&b'{') && file.get(4..8) == Some(&[0; 4]) {
        ("safetensors", "this is a safetensors file. Name the folder that holds it and its config.json.")
    } else {
        ("unknown", "the file does not start with `GGUF`, so it is not a GGUF model.")
    };
    let start: String = head.iter().take(4).map(|b| format!("{b:02x}")).collect();
    Err(corrupt(what).with("looksLike", kind).with("startsWith", start))
}
