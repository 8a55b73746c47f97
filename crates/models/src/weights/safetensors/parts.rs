use std::collections::HashSet;

use skimlm_core::Result;
use skimlm_kernels::linear::Weight;

use super::Folder;
use crate::config::Config;
use crate::fail::{corrupt, in_file};
use crate::families::{self, Family, Place};
use crate::weights::{Part, Weights, shaped};

/// The weights of a folder, read by the family it belongs to.
pub struct FolderWeights<'a> {
    folder: &'a Folder,
    family: &'static Family,
    config: Config,
}

impl Folder {
    /// The folder as weights of the family that `model_type` names.
    ///
    /// `ERR_MODEL_UNSUPPORTED` with `{ architecture, supported }` if there is none, or if the folder
    /// holds weights that the family's decoder would leave out; `ERR_MODEL_CORRUPT` if its settings
    /// contradict each other.
    pub fn weights(&self) -> Result<FolderWeights<'_>> {
        let settings = self.path.join("config.json");
        let (family, config) = families::of_json(&self.settings, &|name| self.info(name).is_some())
            .and_then(|(family, config)| config.check().map(|()| (family, config)))
            .map_err(in_file(&settings))?;
        let (layers, tensors) = (config.layers.len(), self.tensors.len());
        if layers > tensors {
            let what = format!("`num_hidden_layers` is {layers}; the folder holds {tensors} tensors.");
            return Err(in_file(&settings)(corrupt(what).with("claimed", layers).with("limit", tensors)));
        }
        let weights = FolderWeights { folder: self, family, config };
        weights.refuse_leftovers().map_err(in_file(&self.path))?;
        Ok(weights)
    }
}

impl FolderWeights<'_> {
    /// A weight that the decoder does not know would change every answer without a word.
    fn refuse_leftovers(&self) -> Result<()> {
        let place = |part| self.family.checkpoint_place(part, &self.config).tensor;
        let known: HashSet<String> = Part::all(&self.config).map(place).collect();
        let left = self.folder.tensors().iter().map(|info| info.name.as_str()).filter(|name| !known.contains(*name));
        let counts = |name: &&str| {
            let tied = self.config.tied_head && *name == "lm_head.weight";
            let model = name.starts_with("model.") || name.starts_with("lm_head");
            // Old checkpoints carry the plain rotary frequencies along.
            model && !tied && !name.ends_with("rotary_emb.inv_freq")
        };
        families::refuse_leftovers("folder", self.family, &self.config, left.filter(counts))
    }
}

impl Weights for FolderWeights<'_> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn matrix(&self, part: Part) -> Result<Weight> {
        let Place { tensor, rows } = self.family.checkpoint_place(part, &self.config);
        let weight = self.folder.tensor(&tensor, rows)?;
        shaped(weight, &tensor, part, &self.config, "config.json").map_err(in_file(&self.folder.path))
    }

    fn vector(&self, part: Part) -> Result<Vec<f32>> {
        let weight = self.matrix(part)?;
        let mut out = vec![0f32; weight.cols()];
        weight.dequantize_row(0, &mut out)?;
        if part.is_norm() {
            out.iter_mut().for_each(|value| *value += self.family.norm_offset);
        }
        Ok(out)
    }

    fn release(&self, part: Part) {
        self.folder.release(&self.family.checkpoint_place(part, &self.config).tensor);
    }
}
