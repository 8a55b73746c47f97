//! The metadata keys that GGUF architectures share: `<architecture>.<key>`.

use skimlm_core::{LayerShape, Result};

use crate::config::Config;
use crate::fail::{corrupt, unsupported};
use crate::families::gguf_architectures;
use crate::rope::{Pairing, RotaryConfig, Scaling};
use crate::weights::gguf::{Gguf, Value};
use crate::weights::{LayerPart, Part};

/// The keys of one architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

/// The settings of a file that uses the common keys. A family changes what differs.
pub(super) fn config(gguf: &Gguf, pairing: Pairing) -> Result<Config> {
    let key = "general.architecture";
    let keys = Keys { gguf, architecture: gguf.get_str(key)?.ok_or_else(|| gguf.missing(key))? };
    keys.refuse_experts()?;
    let (hidden, heads) = (keys.size("embedding_length")?, keys.size_of_all_layers("attention.head_count")?);
    let heads = heads.ok_or_else(|| gguf.missing(&keys.key("attention.head_count")))?;
    let head_dim = keys.head_dim(hidden, heads)?;
    let window = keys.optional("attention.sliding_window")?.filter(|&window| window > 0);
    let mlp = keys.size_of_all_layers("feed_forward_length")?;
    Ok(Config {
        architecture: keys.architecture.into(),
        hidden,
        heads,
        kv_heads: keys.size_of_all_layers("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        mlp: mlp.ok_or_else(|| gguf.missing(&keys.key("feed_forward_length")))?,
        vocab: keys.vocab()?,
        max_positions: keys.size("context_length")?,
        eps: {
            let key = keys.key("attention.layer_norm_rms_epsilon");
            gguf.get_f32(&key)?.ok_or_else(|| gguf.missing(&key))?
        },
        scale: keys.number("attention.scale")?.unwrap_or((1.0 / (head_dim as f64).sqrt()) as f32),
        layers: vec![LayerShape { window, rotary: 0 }; keys.layers()?],
        rotaries: vec![RotaryConfig {
            base: keys.number("rope.freq_base")?.unwrap_or(10000.0).into(),
            dims: keys.optional("rope.dimension_count")?.map_or(head_dim, |dims| dims as usize),
            pairing,
            scaling: keys.scaling()?,
        }],
        qkv_bias: gguf.info(&Part::Layer(0, LayerPart::QueryBias).gguf()).is_some(),
        qk_norm: gguf.info(&Part::Layer(0, LayerPart::QueryNorm).gguf()).is_some(),
        tied_head: gguf.info(&Part::Head.gguf()).is_none(),
    })
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn optional(&self, key: &str) -> Result<Option<u32>> {
        self.gguf.get_u32(&self.key(key))
    }

    fn number(&self, key: &str) -> Result<Option<f32>> {
        self.gguf.get_f32(&self.key(key))
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

    fn scaling(&self) -> Result<Scaling> {
        if self.gguf.info(&Part::RopeFactors.gguf()).is_some() {
            return Ok(Scaling::Stored);
        }
        let kind = self.key("rope.scaling.type");
        // Old files state the factor alone, and mean linear.
        let old = self.number("rope.scale_linear")?.filter(|&factor| factor != 1.0);
        match self.gguf.get_str(&kind)? {
            None | Some("none") => Ok(old.map_or(Scaling::None, |factor| Scaling::Linear { factor: factor.into() })),
            Some("linear") => {
                let factor = self.key("rope.scaling.factor");
                let factor = self.gguf.get_f32(&factor)?.or(old).ok_or_else(|| self.gguf.missing(&factor))?;
                Ok(Scaling::Linear { factor: factor.into() })
            }
            Some("llama3") => {
                let number = |key: &str| -> Result<f64> {
                    let key = self.key(&format!("rope.scaling.{key}"));
                    Ok(self.gguf.get_f32(&key)?.ok_or_else(|| self.gguf.missing(&key))?.into())
                };
                Ok(Scaling::Llama3 {
                    factor: number("factor")?,
                    low: number("low_freq_factor")?,
                    high: number("high_freq_factor")?,
                    original: number("original_context_length")?,
                })
            }
            Some(other) => {
                Err(self.unsupported(format!("RoPE scaling is `{other}`; none, linear and llama3 can be run")))
            }
        }
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
        unsupported(format!("{what}. Use another model of this family."))
            .with("architecture", self.architecture)
            .with("supported", gguf_architectures())
    }
}
