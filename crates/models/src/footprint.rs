use skimlm_core::Result;

use crate::config::Config;
use crate::info;
use crate::source::Source;
use crate::weights::quantized::Quantization;

/// What a model brings to the memory of any request: its sizes, and the bytes of its weights.
#[derive(Debug, Clone)]
pub struct Footprint {
    /// The model's sizes.
    pub config: Config,
    /// Bytes of the weights in their files.
    pub stored: u64,
    /// Whether most weights are plain floats, which alone are brought to a smaller format.
    pub floats: bool,
}

impl Footprint {
    /// Of a model whose headers have been read. Errors as in [`Source::weights`].
    pub fn of(source: &Source) -> Result<Self> {
        let tensors = source.listed();
        Ok(Self {
            config: source.weights()?.config().clone(),
            stored: tensors.iter().map(|tensor| tensor.bytes.len() as u64).sum(),
            floats: info::of_floats(&tensors),
        })
    }

    /// Bytes of the weights once they are loaded, floats in the format that they are brought to. They count whole,
    /// though a mapped file's pages can be given back.
    pub fn weights(&self, quantize: Option<Quantization>) -> u64 {
        match quantize.filter(|_| self.floats) {
            Some(to) => to.bytes(&self.config),
            None => self.stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::llama;

    #[test]
    fn weights_shrink_with_their_format() {
        let of =
            |quantize, floats| Footprint { config: llama().unwrap(), stored: 16_060_522_496, floats }.weights(quantize);
        assert_eq!(of(None, true), 16_060_522_496);
        assert_eq!(of(Some(Quantization::Q4K), false), 16_060_522_496);
        assert_eq!(gigabytes(of(Some(Quantization::Q8_0), true)), 8.5);
        assert_eq!(gigabytes(of(Some(Quantization::Q4K), true)), 5.0);
    }

    fn gigabytes(bytes: u64) -> f64 {
        (bytes as f64 / 1e8).round() / 10.0
    }
}
