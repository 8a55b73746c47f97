//! The failures of this crate, in one wording.

use std::path::Path;

use skimlm_core::{Code, Error, Result};

/// The file is damaged. `what` is a clause such as ``tensor `x` ends at byte 9, the file has 7``.
pub(crate) fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::ModelCorrupt, what)
}

/// A sound file that cannot be run.
pub(crate) fn unsupported(what: impl Into<String>) -> Error {
    Error::new(Code::ModelUnsupported, what)
}

/// Refuses what a download leaves in place of a model of any format: a git-lfs pointer, a web page.
pub(crate) fn refuse_no_model(file: &[u8]) -> Result<()> {
    let head = String::from_utf8_lossy(&file[..file.len().min(512)]);
    let text = head.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let (kind, what) = if text.starts_with("version https://git-lfs") {
        let what = "this is a git-lfs pointer, not the model: run `git lfs pull`, or download the file itself.";
        ("git-lfs pointer", what)
    } else if ["<!doctype", "<html", "<?xml", "<!--"].iter().any(|start| text.starts_with(start)) {
        ("HTML", "this is an HTML page, not a model: the download link led to a web page. Use the direct link.")
    } else {
        return Ok(());
    };
    Err(corrupt(what).with("looksLike", kind).with("startsWith", hex(file)))
}

/// The first bytes of a file.
pub(crate) fn hex(file: &[u8]) -> String {
    file.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Names the file in the message and the details.
pub(crate) fn in_file(path: &Path) -> impl Fn(Error) -> Error + '_ {
    move |mut error| {
        if !error.details.contains_key("path") {
            error.message = format!("{}: {}", path.display(), error.message);
            error = error.with("path", path.display().to_string());
        }
        error
    }
}
