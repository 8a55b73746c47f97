use std::collections::HashSet;

use skimlm_core::Result;
use skimlm_kernels::linear::Weight;

use super::Gguf;
use crate::config::Config;
use crate::fail::{in_file, unsupported};
use crate::families::{self, Family, Place};
use crate::weights::{Part, Weights, shaped};

/// The weights of a GGUF file, read by the family it belongs to.
pub struct GgufWeights<'a> {
    gguf: &'a Gguf,
    family: &'static Family,
    config: Config,
}

impl Gguf {
    /// The file as weights of the family that its architecture names.
    ///
    /// `ERR_MODEL_UNSUPPORTED` with `{ architecture, supported }` if there is none, or if the file
    /// holds weights that the family's decoder would leave out; `ERR_MODEL_CORRUPT` if its settings
    /// contradict each other.
    pub fn weights(&self) -> Result<GgufWeights<'_>> {
        self.refuse_lone_part()?;
        let (family, config) = families::of_gguf(self)?;
        config.check().map_err(in_file(&self.path))?;
        let weights = GgufWeights { gguf: self, family, config };
        weights.refuse_leftovers().map_err(in_file(&self.path))?;
        Ok(weights)
    }

    fn refuse_lone_part(&self) -> Result<()> {
        let count = self.split_count()?;
        if count as usize <= self.files.len().max(1) {
            return Ok(());
        }
        Err(in_file(&self.path)(
            unsupported(format!("this is one of {count} parts of a model. Open it by its path, beside the others."))
                .with("architecture", self.get_str("general.architecture")?)
                .with("supported", families::architectures())
                .with("parts", count),
        ))
    }
}

impl GgufWeights<'_> {
    fn place(&self, part: Part) -> Place {
        self.family.gguf_place(part, &self.config)
    }

    /// A weight of a layer that the decoder does not know would change every answer without a word.
    fn refuse_leftovers(&self) -> Result<()> {
        let known: HashSet<String> = Part::all(&self.config).map(|part| self.place(part).tensor).collect();
        let left = self.gguf.tensors().iter().map(|info| info.name.as_str()).filter(|name| !known.contains(*name));
        let counts = |name: &&str| {
            ["blk.", "output", "token_embd", "position_embd"].iter().any(|start| name.starts_with(start))
                && !name.ends_with("rot_embd")
                && !name.ends_with("rope_freqs.weight")
        };
        families::refuse_leftovers("file", self.family, &self.config, left.filter(counts))
    }

    fn get(&self, part: Part) -> Result<Weight> {
        let Place { tensor, rows } = self.place(part);
        let weight = match rows {
            Some(rows) => self.gguf.tensor_rows(&tensor, rows)?,
            None => self.gguf.tensor(&tensor)?,
        };
        shaped(weight, &tensor, part, &self.config, "the metadata").map_err(in_file(&self.gguf.path))
    }
}

impl Weights for GgufWeights<'_> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn matrix(&self, part: Part) -> Result<Weight> {
        self.get(part)
    }

    fn vector(&self, part: Part) -> Result<Vec<f32>> {
        let weight = self.get(part)?;
        let mut out = vec![0f32; weight.cols()];
        weight.dequantize_row(0, &mut out)?;
        Ok(out)
    }

    fn release(&self, part: Part) {
        self.gguf.release(&self.place(part).tensor);
    }
}
