//! The failures of this crate, in one wording.

use std::path::Path;

use skimlm_core::{Code, Error};

/// The file is damaged. `what` is a clause such as ``tensor `x` ends at byte 9, the file has 7``.
pub(crate) fn corrupt(what: impl Into<String>) -> Error {
    Error::new(Code::ModelCorrupt, what)
}

/// A sound file that cannot be run.
pub(crate) fn unsupported(what: impl Into<String>) -> Error {
    Error::new(Code::ModelUnsupported, what)
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
