//! Files that are whole or not there: written beside their place and moved into it.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors, View};
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
    let placed = file.persist(path).map_err(|e| failed(e.error))?;
    readable(&placed).map_err(failed)
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

struct Bytes {
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl View for &Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.bytes.as_slice().into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The bytes of a safetensors file, in f32 or f16.
pub fn tensors_to_bytes(
    tensors: &[(String, Tensor)],
    dtype: DType,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let bytes = |tensor: &Tensor| -> Result<Bytes> {
        let flat = tensor.flatten_all()?.to_device(&Device::Cpu)?;
        let (dtype, bytes) = match dtype {
            DType::F16 => {
                let values = flat.to_dtype(DType::F16)?.to_vec1::<half::f16>()?;
                (Dtype::F16, values.iter().flat_map(|x| x.to_le_bytes()).collect())
            }
            _ => (Dtype::F32, flat.to_vec1::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect()),
        };
        Ok(Bytes { shape: tensor.dims().to_vec(), dtype, bytes })
    };
    let all: Vec<(&str, Bytes)> =
        tensors.iter().map(|(name, tensor)| Ok((name.as_str(), bytes(tensor)?))).collect::<Result<_>>()?;
    safetensors::serialize(all.iter().map(|(name, bytes)| (*name, bytes)), metadata)
        .map_err(|e| Error::new(Code::Internal, format!("the tensors cannot be written: {e}")).caused_by(e))
}

/// The f32 tensors of a safetensors file and its metadata. `ERR_MODEL_CORRUPT` if it is damaged.
pub fn tensors_from_bytes(
    bytes: &[u8],
    path: &Path,
    device: &Device,
) -> Result<(HashMap<String, Tensor>, HashMap<String, String>)> {
    let damaged = |what: String| {
        let what = format!("{} is damaged: {what}. Start from an earlier copy.", path.display());
        Error::new(Code::ModelCorrupt, what).with("path", path.display().to_string())
    };
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(damaged(format!("{name} is {:?}, not F32", view.dtype())));
        }
        let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        tensors.insert(name.to_owned(), Tensor::from_vec(values, view.shape(), device)?);
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
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

    #[test]
    fn tensors_come_back_and_damage_is_seen() {
        let tensor = Tensor::new(&[[1f32, -2.5], [3.0, 0.0]], &Device::Cpu).unwrap();
        let meta = HashMap::from([("step".to_owned(), "7".to_owned())]);
        let bytes = tensors_to_bytes(&[("x".into(), tensor.clone())], DType::F32, Some(meta.clone())).unwrap();
        let path = Path::new("x.safetensors");
        let (tensors, found) = tensors_from_bytes(&bytes, path, &Device::Cpu).unwrap();
        assert_eq!(tensors["x"].to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
        assert_eq!(found, meta);
        for cut in [0, 5, 20, bytes.len() - 1] {
            let error = tensors_from_bytes(&bytes[..cut], path, &Device::Cpu).unwrap_err();
            assert_eq!(error.code, Code::ModelCorrupt, "{cut}");
        }
    }
}
