//! Files that are whole or not there: written beside their place and moved into it.

use std::io::Write;
use std::path::Path;

use skimlm_core::{Code, Error, Result};

/// Replaces a file in one step. `ERR_STORAGE` with the file as it was if the disk is full or forbids it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(
            Code::Storage,
            format!(
                "{} cannot be written: {error}. What was there is unchanged; free some space or choose another folder.",
                path.display()
            ),
        )
        .with("path", path.display().to_string())
        .caused_by(error)
    };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    // Before it is moved: where this is refused, what was there stays.
    readable(file.as_file()).map_err(failed)?;
    file.persist(path).map(drop).map_err(|e| failed(e.error))
}

/// Temporary files are for their owner alone; models are not.
#[cfg(unix)]
fn readable(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

/// Reads a file. `ERR_STORAGE` if it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::new(Code::Storage, format!("{} cannot be read: {error}. Check path and permissions.", path.display()))
            .with("path", path.display().to_string())
            .caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.bin");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        // A file where a folder is wanted: no user, however mighty, can write below it.
        let error = write(&path.join("c"), b"three").unwrap_err();
        assert_eq!(error.code, Code::Storage);
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path().join("a")).unwrap().count(), 1, "nothing is left behind");
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_is_written() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        write(&path, b"one").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
}
