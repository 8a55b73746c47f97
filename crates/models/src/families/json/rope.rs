use serde::Deserialize;
use serde_json::Value;
use skimlm_core::Result;

use super::{Settings, missing};
use crate::fail::corrupt;
use crate::rope::{Pairing, RotaryConfig, Scaling, Yarn};

/// One set of RoPE settings: `rope_scaling`, `rope_parameters`, or an entry of it for a type of layer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rope {
    rope_type: Option<String>,
    /// The name of `rope_type` in old files; new ones may have both.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
}

impl Rope {
    fn read(value: Option<&Value>) -> Result<Self> {
        match value {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(value) => Self::deserialize(value)
                .map_err(|error| corrupt(format!("the RoPE settings cannot be read: {error}.")).caused_by(error)),
        }
    }
}

impl Settings<'_> {
    /// The rotation of most layers, and that of layers with a window where it has a base of its own.
    pub(super) fn rotaries(&self, head_dim: usize, claimed: usize) -> Result<Vec<RotaryConfig>> {
        let json = self.json;
        let new = json.rope_parameters.as_ref().filter(|value| !value.is_null());
        // The new settings of models with several kinds of layers are nested by kind.
        let of_layers = |kind: &str| new.and_then(|value| value.get(kind)).filter(|value| !value.is_null());
        let (full, sliding) = (of_layers("full_attention"), of_layers("sliding_attention"));
        let flat = new.or(json.rope_scaling.as_ref()).filter(|_| full.is_none() && sliding.is_none());
        let rope = Rope::read(full.or(flat))?;
        let rotary =
            self.rotary(&rope, rope.rope_theta.or(json.rope_theta), self.family.global_base, head_dim, claimed)?;
        let Some(local) = self.family.local_base else { return Ok(vec![rotary]) };
        let rope = Rope::read(sliding)?;
        let local = self.rotary(&rope, rope.rope_theta.or(json.rope_local_base_freq), local, head_dim, claimed)?;
        Ok(vec![rotary, local])
    }

    fn rotary(
        &self,
        rope: &Rope,
        base: Option<f64>,
        default: f64,
        head_dim: usize,
        claimed: usize,
    ) -> Result<RotaryConfig> {
        let part = rope.partial_rotary_factor.or(self.json.partial_rotary_factor).unwrap_or(1.0);
        if !(0.0..=1.0).contains(&part) {
            return Err(corrupt(format!("`partial_rotary_factor` is {part}; it must be from 0 to 1.")));
        }
        let dims = (head_dim as f64 * part) as usize;
        let scaling = self.scaling(rope, claimed)?;
        Ok(RotaryConfig { base: base.unwrap_or(default), dims, pairing: Pairing::Half, scaling })
    }

    fn scaling(&self, rope: &Rope, claimed: usize) -> Result<Scaling> {
        let kind = rope.rope_type.as_deref().or(rope.r#type.as_deref()).unwrap_or("default");
        let claimed = claimed as f64;
        let factor = || rope.factor.ok_or_else(|| missing("factor"));
        let original = self.json.original_max_position_embeddings.or(rope.original_max_position_embeddings);
        match kind {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear { factor: factor()? }),
            "dynamic" => Ok(Scaling::Dynamic { factor: factor()?, original: claimed }),
            "llama3" => Ok(Scaling::Llama3 {
                factor: factor()?,
                low: rope.low_freq_factor.ok_or_else(|| missing("low_freq_factor"))?,
                high: rope.high_freq_factor.ok_or_else(|| missing("high_freq_factor"))?,
                original: original.unwrap_or(claimed),
            }),
            // The first Phi-3 files call it `su` or, with the tables of LongRoPE, `yarn`.
            "yarn" if rope.short_factor.is_none() => {
                let original = original.unwrap_or(claimed);
                let factor = rope.factor.unwrap_or(claimed / original);
                let by = match (rope.mscale, rope.mscale_all_dim) {
                    (Some(one), Some(all)) if one != 0.0 && all != 0.0 => {
                        Yarn::magnitude(factor, one) / Yarn::magnitude(factor, all)
                    }
                    _ => Yarn::magnitude(factor, 1.0),
                };
                let plain = Yarn::new(factor, original);
                Ok(Scaling::Yarn(Yarn {
                    fast: rope.beta_fast.filter(|&beta| beta != 0.0).unwrap_or(plain.fast),
                    slow: rope.beta_slow.filter(|&beta| beta != 0.0).unwrap_or(plain.slow),
                    truncate: rope.truncate.unwrap_or(plain.truncate),
                    magnitude: rope.attention_factor.unwrap_or(by),
                    ..plain
                }))
            }
            "longrope" | "su" | "yarn" => {
                let original = original.unwrap_or(claimed);
                let stretch = rope.factor.unwrap_or(claimed / original);
                Ok(Scaling::LongRope {
                    short: rope.short_factor.clone().ok_or_else(|| missing("short_factor"))?,
                    long: rope.long_factor.clone().ok_or_else(|| missing("long_factor"))?,
                    original,
                    magnitude: rope.attention_factor.unwrap_or_else(|| Scaling::long_rope_magnitude(stretch, original)),
                })
            }
            other => Err(self.refuse(format!(
                "RoPE scaling is `{other}`; default, linear, dynamic, llama3, yarn and longrope can be run"
            ))),
        }
    }
}
