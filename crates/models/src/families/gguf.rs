//! The metadata keys that GGUF architectures share: `<architecture>.<key>`.

use skimlm_core::Result;

use super::{FAMILIES, Family, Windows, refuse, unknown};
use crate::config::Config;
use crate::fail::{corrupt, in_file};
use crate::rope::{RotaryConfig, Scaling, Yarn};
use crate::weights::gguf::{Gguf, Value};
use crate::weights::{LayerPart, Part};

/// The family of a GGUF file and the file's settings, not checked against each other yet.
pub(crate) fn of_gguf(gguf: &Gguf) -> Result<(&'static Family, Config)> {
    let key = "general.architecture";
    let architecture = gguf.get_str(key)?.ok_or_else(|| gguf.missing(key))?;
    let family = FAMILIES.iter().find(|family| family.gguf_architectures.contains(&architecture));
    let family = family.ok_or_else(|| in_file(gguf.path())(unknown(architecture)))?;
    let config = Keys { gguf, architecture, family }.config().map_err(in_file(gguf.path()))?;
    Ok((family, config))
}

/// The keys of one architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
    family: &'static Family,
}

impl Keys<'_> {
    fn config(&self) -> Result<Config> {
        let (gguf, family) = (self.gguf, self.family);
        self.refuse_experts()?;
        let (hidden, heads) = (self.size("embedding_length")?, self.size_of_all_layers("attention.head_count")?);
        let heads = heads.ok_or_else(|| gguf.missing(&self.key("attention.head_count")))?;
        let head_dim = self.head_dim(hidden, heads)?;
        let mlp = self.size_of_all_layers("feed_forward_length")?;
        let max_positions = self.size("context_length")?;
        let rotaries = self.rotaries(head_dim, max_positions)?;
        let max_positions = rotaries.iter().fold(max_positions, |reach, rotary| rotary.scaling.reach(reach));
        let window = self.optional("attention.sliding_window")?.filter(|&window| window > 0);
        let mut config = Config {
            architecture: self.architecture.into(),
            hidden,
            heads,
            kv_heads: self.size_of_all_layers("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            mlp: mlp.ok_or_else(|| gguf.missing(&self.key("feed_forward_length")))?,
            vocab: self.vocab()?,
            max_positions,
            eps: {
                let key = self.key("attention.layer_norm_rms_epsilon");
                gguf.get_f32(&key)?.ok_or_else(|| gguf.missing(&key))?
            },
            scale: self.factor("attention.scale")?.unwrap_or((1.0 / (head_dim as f64).sqrt()) as f32),
            layers: family.layers(&self.sliding()?, window, max_positions),
            rotaries,
            qkv_bias: gguf.info(&Part::Layer(0, LayerPart::QueryBias).gguf()).is_some(),
            qk_norm: gguf.info(&Part::Layer(0, LayerPart::QueryNorm).gguf()).is_some(),
            post_norms: family.post_norms,
            tied_head: gguf.info(&Part::Head.gguf()).is_none(),
            embed_scale: self.factor("embedding_scale")?.unwrap_or_else(|| family.embed_scale(hidden)),
            residual_scale: self.factor("residual_scale")?.unwrap_or(1.0),
            logit_scale: 1.0 / self.factor("logit_scale")?.unwrap_or(1.0),
            activation: family.activation,
        };
        (family.gguf_adjust)(&mut config);
        Ok(config)
    }

    fn sliding(&self) -> Result<Vec<bool>> {
        let layers = self.layers()?;
        let every = match self.family.windows {
            Windows::All | Windows::Asked => return Ok(vec![true; layers]),
            Windows::Pattern(every) => every,
        };
        let key = "attention.sliding_window_pattern";
        let stated = matches!(self.gguf.get(&self.key(key))?, Some(Value::Unsigned(_) | Value::Signed(_)));
        let every = if stated { self.size(key)?.max(1) } else { every };
        Ok((1..=layers).map(|layer| !layer.is_multiple_of(every)).collect())
    }

    fn rotaries(&self, head_dim: usize, max_positions: usize) -> Result<Vec<RotaryConfig>> {
        let dims = self.optional("rope.dimension_count")?.map_or(head_dim, |dims| dims as usize);
        let pairing = self.family.gguf_pairing;
        let base = self.number("rope.freq_base")?.map_or(self.family.global_base, f64::from);
        let scaling = self.scaling(dims, max_positions)?;
        let mut rotaries = vec![RotaryConfig { base, dims, pairing, scaling }];
        if let Some(local) = self.family.local_base {
            let local = self.number("rope.freq_base_swa")?.map_or(local, f64::from);
            rotaries.push(RotaryConfig::plain(local, dims, pairing));
        }
        Ok(rotaries)
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn optional(&self, key: &str) -> Result<Option<u32>> {
        self.gguf.get_u32(&self.key(key))
    }

    fn number(&self, key: &str) -> Result<Option<f32>> {
        self.gguf.get_f32(&self.key(key))
    }

    /// A factor, for which 0 is another way to state none.
    fn factor(&self, key: &str) -> Result<Option<f32>> {
        Ok(self.number(key)?.filter(|&factor| factor != 0.0))
    }

    fn size(&self, key: &str) -> Result<usize> {
        Ok(self.optional(key)?.ok_or_else(|| self.gguf.missing(&self.key(key)))? as usize)
    }

    /// A size that files may state once or layer by layer.
    fn size_of_all_layers(&self, key: &str) -> Result<Option<usize>> {
        let name = self.key(key);
        if !matches!(self.gguf.get(&name)?, Some(Value::Array(_))) {
            return Ok(self.optional(key)?.map(|size| size as usize));
        }
        let sizes = self.gguf.integers(&name)?.unwrap_or_default();
        match sizes.first() {
            Some(&first) if sizes.iter().all(|&size| size == first) => {
                let size = usize::try_from(first);
                size.map(Some).map_err(|_| corrupt(format!("`{name}` is {first}.")).with("key", name))
            }
            _ => Err(self.unsupported(format!("`{name}` differs from layer to layer, which no decoder here can run"))),
        }
    }

    /// Every layer has tensors, so a file cannot have more layers than tensors.
    fn layers(&self) -> Result<usize> {
        let (layers, tensors) = (self.size("block_count")?, self.gguf.tensors().len());
        if layers > tensors {
            return Err(corrupt(format!("the header claims {layers} layers and holds {tensors} tensors."))
                .with("claimed", layers)
                .with("limit", tensors));
        }
        Ok(layers)
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize> {
        let key = self.optional("attention.key_length")?.map(|dim| dim as usize);
        let value = self.optional("attention.value_length")?.map(|dim| dim as usize);
        let dim = key.or_else(|| hidden.checked_div(heads)).unwrap_or(0);
        if value.is_some_and(|value| value != dim) {
            return Err(self.unsupported(format!("keys are {dim} wide and values {value:?}; they must be alike")));
        }
        Ok(dim)
    }

    /// The embedding decides: `vocab_size` is not in every file.
    fn vocab(&self) -> Result<usize> {
        let name = Part::Embedding.gguf();
        match self.gguf.info(&name).map(|info| info.dims.as_slice()) {
            Some(&[_, rows]) => Ok(rows as usize),
            Some(dims) => Err(corrupt(format!("tensor `{name}` is {dims:?}, no matrix.")).with("tensor", name)),
            None => {
                Err(corrupt(format!("the tensor `{name}` is missing. Download the model again.")).with("tensor", name))
            }
        }
    }

    fn scaling(&self, dims: usize, max_positions: usize) -> Result<Scaling> {
        if let Some(by) = self.factors("rope_freqs.weight", dims)? {
            return Ok(Scaling::Stored { by });
        }
        let number =
            |key: &str| -> Result<Option<f64>> { Ok(self.number(&format!("rope.scaling.{key}"))?.map(f64::from)) };
        let must = |key: &str| -> Result<f64> {
            number(key)?.ok_or_else(|| self.gguf.missing(&self.key(&format!("rope.scaling.{key}"))))
        };
        let original = number("original_context_length")?.unwrap_or(max_positions as f64);
        let tables =
            (self.factors("rope_factors_short.weight", dims)?, self.factors("rope_factors_long.weight", dims)?);
        if let (Some(short), Some(long)) = tables {
            let stretch = max_positions as f64 / original;
            let magnitude = number("attn_factor")?.unwrap_or_else(|| Scaling::long_rope_magnitude(stretch, original));
            return Ok(Scaling::LongRope { short, long, original, magnitude });
        }
        // Old files state the factor alone, and mean linear.
        let old = self.number("rope.scale_linear")?.map(f64::from).filter(|&factor| factor != 1.0);
        match self.gguf.get_str(&self.key("rope.scaling.type"))? {
            None | Some("none") => Ok(old.map_or(Scaling::None, |factor| Scaling::Linear { factor })),
            Some("linear") => {
                Ok(Scaling::Linear { factor: number("factor")?.or(old).map_or_else(|| must("factor"), Ok)? })
            }
            Some("llama3") => Ok(Scaling::Llama3 {
                factor: must("factor")?,
                low: must("low_freq_factor")?,
                high: must("high_freq_factor")?,
                original: must("original_context_length")?,
            }),
            Some("yarn") => {
                let plain = Yarn::new(must("factor")?, original);
                Ok(Scaling::Yarn(Yarn {
                    fast: number("yarn_beta_fast")?.unwrap_or(plain.fast),
                    slow: number("yarn_beta_slow")?.unwrap_or(plain.slow),
                    magnitude: plain.magnitude * number("attn_factor")?.unwrap_or(1.0),
                    ..plain
                }))
            }
            Some(other) => Err(self.unsupported(format!(
                "RoPE scaling is `{other}`; none, linear, llama3, yarn and longrope (by its tables) can be run"
            ))),
        }
    }

    /// A table of divisors that stands among the tensors.
    fn factors(&self, name: &str, dims: usize) -> Result<Option<Vec<f64>>> {
        let Some(info) = self.gguf.info(name) else { return Ok(None) };
        if info.elements != dims as u64 / 2 {
            let what = format!("tensor `{name}` holds {} factors for {} frequencies.", info.elements, dims / 2);
            return Err(corrupt(what).with("tensor", name));
        }
        let weight = self.gguf.tensor(name)?;
        let mut by = vec![0f32; weight.cols()];
        weight.dequantize_row(0, &mut by)?;
        Ok(Some(by.into_iter().map(f64::from).collect()))
    }

    fn refuse_experts(&self) -> Result<()> {
        match self.optional("expert_count")? {
            None | Some(0) => Ok(()),
            Some(experts) => {
                Err(self
                    .unsupported(format!("the model is a mixture of {experts} experts; only dense ones can be run")))
            }
        }
    }

    fn unsupported(&self, what: String) -> skimlm_core::Error {
        refuse(self.architecture, what)
    }
}
