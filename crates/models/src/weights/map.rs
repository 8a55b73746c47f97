use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use skimlm_core::{Code, Error, Result};

use crate::fail::corrupt;

/// Memory that a file lies in, mapped or read.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A file in memory, read-only; nothing is mapped of an empty one.
pub(crate) struct Mapped(Option<memmap2::Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Mapped {
    /// Gives the memory of a range back to the system. It is read from the file again when it is used.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = self.0.as_ref().filter(|map| range.start < range.end && range.end <= map.len()) {
            // SAFETY: the map is of a file and read-only, so its pages hold nothing that the file does
            // not: dropped ones are read from it again and no byte changes.
            #[allow(unsafe_code)]
            let done =
                unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
            // No more than advice: whoever does not take it keeps the memory.
            drop(done);
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// A copy of a range that takes no more memory than the range itself.
    pub(crate) fn copy(&self, range: Range<usize>) -> Vec<u8> {
        const STEP: usize = 1 << 20;
        let mut out = Vec::with_capacity(range.len());
        for piece in self.as_ref().get(range.clone()).unwrap_or_default().chunks(STEP) {
            let start = range.start + out.len();
            out.extend_from_slice(piece);
            self.release(start..start + piece.len());
        }
        out
    }
}

/// Maps a file into memory, read-only.
pub(crate) fn map(path: &Path) -> Result<Arc<Mapped>> {
    let unreadable = |error: std::io::Error| {
        Error::new(Code::ModelNotFound, format!("The file cannot be read: {error}. Check path and permissions."))
            .caused_by(error)
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(corrupt("this is no regular file, so it cannot be a model."));
    }
    // Mapping nothing is an error on most systems; an empty file gets the message of a wrong magic.
    if metadata.len() == 0 {
        return Ok(Arc::new(Mapped(None)));
    }
    // SAFETY: this process only reads the map. It is shared with the file, so its bytes change or vanish if another
    // program writes to or cuts the file while it is in use, which no program can rule out; models are replaced by
    // renaming, never written in place.
    #[allow(unsafe_code)]
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(unreadable)?;
    Ok(Arc::new(Mapped(Some(map))))
}
