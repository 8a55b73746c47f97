//! The model families: what differs between architectures before the decoder sees a [`Config`].
//!
//! A family is one file with a `FAMILY` and one line in [`FAMILIES`].

mod gguf;
mod llama;

use skimlm_core::Result;

use crate::config::Config;
use crate::fail::{in_file, unsupported};
use crate::weights::Part;
use crate::weights::gguf::{Gguf, Place};

/// All families.
pub static FAMILIES: &[&Family] = &[&llama::FAMILY];

/// How files of one family are read.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Values of `general.architecture` that it reads.
    pub gguf_architectures: &'static [&'static str],
    /// The settings of a GGUF file. They need not be checked against each other here.
    pub gguf_config: fn(&Gguf) -> Result<Config>,
    /// Where a part is in a GGUF file.
    pub gguf_place: fn(Part, &Config) -> Place,
    /// Models whose best filter layer has been measured or published.
    pub filter_layers: &'static [FilterLayer],
}

/// A known model, recognised by its sizes, and the layer that selects tokens best on it.
#[derive(Debug, Clone, Copy)]
pub struct FilterLayer {
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// The filter layer, from 0.
    pub layer: usize,
}

impl Family {
    /// The layer whose attention selects tokens unless told otherwise: the known one, else two
    /// fifths of the depth. It leaves at least one layer above it.
    pub fn default_filter_layer(&self, config: &Config) -> usize {
        let layers = config.layers.len();
        self.filter_layers
            .iter()
            .find(|known| (known.layers, known.hidden, known.vocab) == (layers, config.hidden, config.vocab))
            .map_or_else(|| fallback_filter_layer(layers), |known| known.layer)
    }
}

/// The filter layer of a model nobody has measured: `round(0.4 * layers)`.
pub fn fallback_filter_layer(layers: usize) -> usize {
    ((layers * 4 + 5) / 10).min(layers.saturating_sub(2))
}

/// Every `general.architecture` that can be run.
pub fn gguf_architectures() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.gguf_architectures).copied().collect()
}

/// The family of a GGUF file.
pub fn of_gguf(gguf: &Gguf) -> Result<&'static Family> {
    let key = "general.architecture";
    let architecture = gguf.get_str(key)?.ok_or_else(|| gguf.missing(key))?;
    FAMILIES.iter().find(|family| family.gguf_architectures.contains(&architecture)).copied().ok_or_else(|| {
        let supported = gguf_architectures();
        in_file(gguf.path())(
            unsupported(format!(
                "the architecture is `{architecture}`; {} can be run. Use a model of such a family.",
                supported.join(", ")
            ))
            .with("architecture", architecture)
            .with("supported", supported),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_leaves_a_layer_above() {
        let got: Vec<usize> = [0, 1, 2, 3, 6, 24, 28, 30, 32, 40].into_iter().map(fallback_filter_layer).collect();
        assert_eq!(got, [0, 0, 0, 1, 2, 10, 11, 12, 13, 16]);
    }

    #[test]
    fn names_and_known_layers_are_sound() {
        let mut names = gguf_architectures();
        names.sort_unstable();
        assert!(names.windows(2).all(|w| w[0] != w[1]), "{names:?}");
        for known in FAMILIES.iter().flat_map(|family| family.filter_layers) {
            assert!(known.layer + 1 < known.layers, "{known:?}");
        }
    }
}
