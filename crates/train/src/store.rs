//! Tensors in safetensors files.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use skimlm_core::{Code, Error, Result};

/// The bytes of a safetensors file, in f32 or f16.
pub fn tensors_to_bytes(
    tensors: &[(String, Tensor)],
    dtype: DType,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let bytes = |tensor: &Tensor| -> Result<(Dtype, Vec<u8>)> {
        let flat = tensor.flatten_all()?;
        Ok(match dtype {
            DType::F16 => {
                let values = flat.to_dtype(DType::F16)?.to_vec1::<half::f16>()?;
                (Dtype::F16, values.iter().flat_map(|x| x.to_le_bytes()).collect())
            }
            _ => (Dtype::F32, flat.to_vec1::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect()),
        })
    };
    let all = tensors.iter().map(|(_, tensor)| bytes(tensor)).collect::<Result<Vec<_>>>()?;
    tensors
        .iter()
        .zip(&all)
        .map(|((name, tensor), (dtype, bytes))| Ok((name, TensorView::new(*dtype, tensor.dims().to_vec(), bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()
        .and_then(|views| safetensors::serialize(views, metadata))
        .map_err(|e| Error::new(Code::Internal, format!("the tensors cannot be written: {e}")).caused_by(e))
}

/// The f32 tensors of a safetensors file and its metadata. `ERR_MODEL_CORRUPT` if it is damaged.
pub fn tensors_from_bytes(bytes: &[u8], path: &Path) -> Result<(HashMap<String, Tensor>, HashMap<String, String>)> {
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
        tensors.insert(name.to_owned(), Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
    }
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_and_damage_is_seen() {
        let tensor = Tensor::new(&[[1f32, -2.5], [3.0, 0.0]], &Device::Cpu).unwrap();
        let meta = HashMap::from([("step".to_owned(), "7".to_owned())]);
        let bytes = tensors_to_bytes(&[("x".into(), tensor.clone())], DType::F32, Some(meta.clone())).unwrap();
        let path = Path::new("x.safetensors");
        let (tensors, found) = tensors_from_bytes(&bytes, path).unwrap();
        assert_eq!(tensors["x"].to_vec2::<f32>().unwrap(), tensor.to_vec2::<f32>().unwrap());
        assert_eq!(found, meta);
        for cut in [0, 5, 20, bytes.len() - 1] {
            let error = tensors_from_bytes(&bytes[..cut], path).unwrap_err();
            assert_eq!(error.code, Code::ModelCorrupt, "{cut}");
        }
    }
}
