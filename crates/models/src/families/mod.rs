//! The model families: what differs between architectures before the decoder sees a [`Config`].
//!
//! A family is one file of data and one line in [`FAMILIES`]. Two readers turn it and a file's
//! settings into a [`Config`]: one for GGUF metadata, one for `config.json`.

mod gemma3;
mod gguf;
mod granite;
mod json;
mod llama;
mod mistral;
mod phi3;
mod place;
mod qwen2;
mod qwen3;

use skimlm_core::{Error, LayerShape, Result};

use crate::config::{Activation, Config};
use crate::fail::unsupported;
use crate::rope::Pairing;

pub(crate) use gguf::of_gguf;
pub(crate) use json::{ConfigJson, Ids, of_json};
pub(crate) use place::Place;

/// All families.
pub(crate) static FAMILIES: &[&Family] = &[
    &llama::FAMILY,
    &mistral::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &phi3::FAMILY,
    &gemma3::FAMILY,
    &granite::FAMILY,
];

/// What models of one family have in common and their files do not state.
#[derive(Debug)]
pub(crate) struct Family {
    /// Its name.
    pub(crate) name: &'static str,
    /// Values of `general.architecture` in GGUF files.
    pub(crate) gguf_architectures: &'static [&'static str],
    /// Values of `model_type` in `config.json`.
    pub(crate) model_types: &'static [&'static str],
    /// Which numbers of a head are a pair in GGUF files; elsewhere always [`Pairing::Half`].
    pub(crate) gguf_pairing: Pairing,
    /// Whether query, key and value share a tensor, and gate and up another.
    pub(crate) fused: bool,
    /// Which layers have the sliding window.
    pub(crate) windows: Windows,
    /// Base of the rotation in layers with a window, where it is not that of the others.
    pub(crate) local_base: Option<f64>,
    /// Base of the rotation where the file states none.
    pub(crate) global_base: f64,
    /// Whether there are norms behind attention and MLP.
    pub(crate) post_norms: bool,
    /// Added to every norm weight of a Hugging Face checkpoint; GGUF files hold the sum.
    pub(crate) norm_offset: f32,
    /// Whether embedded tokens are multiplied with the root of the hidden size.
    pub(crate) scaled_embedding: bool,
    /// The factor on `q.k` where `config.json` states none; none: by the head's size.
    pub(crate) unstated_scale: Option<f32>,
    /// The function on the gate, where the file states none.
    pub(crate) activation: Activation,
    /// What GGUF files of the family leave unsaid.
    pub(crate) gguf_adjust: fn(&mut Config),
    /// Models whose best filter layer has been measured or published.
    pub(crate) filter_layers: &'static [FilterLayer],
}

/// Which layers see a sliding window, if the model has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Windows {
    /// All.
    All,
    /// In `config.json`: none unless `use_sliding_window`, then those from `max_window_layers` on.
    Asked,
    /// All but each so-many-th.
    Pattern(usize),
}

/// A known model, recognised by its sizes, and the layer that selects tokens best on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilterLayer {
    /// Number of layers.
    pub(crate) layers: usize,
    /// Width of the residual stream.
    pub(crate) hidden: usize,
    /// Rows of the embedding.
    pub(crate) vocab: usize,
    /// The filter layer, from 0.
    pub(crate) layer: usize,
}

impl Family {
    /// The plainest family. Others state how they differ.
    pub(crate) const COMMON: Self = Self {
        name: "",
        gguf_architectures: &[],
        model_types: &[],
        gguf_pairing: Pairing::Half,
        fused: false,
        windows: Windows::All,
        local_base: None,
        global_base: 10_000.0,
        post_norms: false,
        norm_offset: 0.0,
        scaled_embedding: false,
        unstated_scale: None,
        activation: Activation::Silu,
        gguf_adjust: |_| {},
        filter_layers: &[],
    };

    fn embed_scale(&self, hidden: usize) -> f32 {
        if self.scaled_embedding { (hidden as f32).sqrt() } else { 1.0 }
    }

    /// The layers of a model, by which of them slide. A window that no pass can fill is none.
    fn layers(&self, sliding: &[bool], window: Option<u32>, max_positions: usize) -> Vec<LayerShape> {
        let window = window.filter(|&window| (window as usize) < max_positions);
        let layer = |&sliding: &bool| LayerShape {
            window: window.filter(|_| sliding),
            rotary: usize::from(sliding && self.local_base.is_some()),
        };
        sliding.iter().map(layer).collect()
    }
}

/// The layer whose attention selects tokens unless told otherwise: the known one, else two fifths of the depth, or the
/// nearest one without a sliding window if there is any. It leaves a layer above it, unless there is but one.
pub(crate) fn default_filter_layer(config: &Config) -> usize {
    let layers = config.layers.len();
    let wanted = FAMILIES
        .iter()
        .flat_map(|family| family.filter_layers)
        .find(|known| (known.layers, known.hidden, known.vocab) == (layers, config.hidden, config.vocab))
        .map_or_else(|| fallback_filter_layer(layers), |known| known.layer);
    let sees_all = |&layer: &usize| config.layers.get(layer).is_some_and(|l| l.window.is_none());
    (0..layers.saturating_sub(1)).filter(sees_all).min_by_key(|layer| layer.abs_diff(wanted)).unwrap_or(wanted)
}

/// The filter layer of a model nobody has measured: `round(0.4 * layers)`.
pub(crate) fn fallback_filter_layer(layers: usize) -> usize {
    ((layers * 4 + 5) / 10).min(layers.saturating_sub(2))
}

/// Every architecture that can be run, by the names of either format.
pub(crate) fn architectures() -> Vec<&'static str> {
    let mut names: Vec<&str> =
        FAMILIES.iter().flat_map(|f| f.gguf_architectures.iter().chain(f.model_types)).copied().collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `ERR_MODEL_UNSUPPORTED` with `{ architecture, supported }`.
pub(crate) fn refuse(architecture: &str, what: impl std::fmt::Display) -> Error {
    unsupported(format!("{what}. Use another model of this family."))
        .with("architecture", architecture)
        .with("supported", architectures())
}

/// `ERR_MODEL_UNSUPPORTED` if `left`, the weights in a file or folder that no part of the model is, has any: running
/// without them would change every answer without a word.
pub(crate) fn refuse_leftovers<'a>(
    place: &str,
    family: &Family,
    config: &Config,
    left: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let left: Vec<&str> = left.take(8).collect();
    let Some(first) = left.first() else { return Ok(()) };
    let what = format!(
        "the {place} holds weights that `{}` decoders do not use, such as `{first}`; running without them would give wrong \
         answers",
        family.name
    );
    Err(refuse(&config.architecture, what).with("tensors", left))
}

fn unknown(architecture: &str) -> Error {
    let supported = architectures();
    unsupported(format!(
        "the architecture is `{architecture}`; {} can be run. Use a model of such a family.",
        supported.join(", ")
    ))
    .with("architecture", architecture)
    .with("supported", supported)
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
        for names in [|f: &Family| f.gguf_architectures, |f: &Family| f.model_types] {
            let mut names: Vec<&str> = FAMILIES.iter().flat_map(|family| names(family)).copied().collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|w| w[0] != w[1]), "{names:?}");
        }
        let known: Vec<_> = FAMILIES.iter().flat_map(|family| family.filter_layers).collect();
        for (i, one) in known.iter().enumerate() {
            assert!(one.layer + 1 < one.layers, "{one:?}");
            let sizes = |of: &FilterLayer| (of.layers, of.hidden, of.vocab);
            assert!(known[..i].iter().all(|other| sizes(other) != sizes(one)), "{one:?} stands twice");
        }
    }

    #[test]
    fn windows_that_cannot_be_filled_are_none() {
        let family = Family { windows: Windows::Pattern(2), local_base: Some(1e4), ..Family::COMMON };
        let layers = family.layers(&[true, false], Some(100), 101);
        assert_eq!(layers[0], LayerShape { window: Some(100), rotary: 1 });
        assert_eq!(layers[1], LayerShape::default());
        assert_eq!(family.layers(&[true], Some(101), 101), [LayerShape { window: None, rotary: 1 }]);
    }
}
