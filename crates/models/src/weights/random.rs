//! A small model whose weights are a hash of their names, so that no file has to be shipped.
//!
//! A tensor's seed is the FNV-1a-64 hash of its Hugging Face name; the top 24 bits of a splitmix64
//! stream are mapped to `[-1, 1)`, exactly in f32, and scaled by a power of two. Norm weights are 1.
//! Results on the default sizes are the project's golden values.

use skimlm_core::{FNV_START, LayerShape, Result, fnv1a, splitmix64};
use skimlm_kernels::linear::Weight;

use super::{LayerPart, Part, Weights};
use crate::config::{Activation, Config};
use crate::rope::{Pairing, RotaryConfig};

/// The sizes of a random model. The default is the golden one.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// Rows of embedding and head.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the MLP.
    pub mlp: usize,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// Added to the mean square in every norm.
    pub eps: f32,
    /// Positions the model claims.
    pub max_positions: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            vocab: 97,
            hidden: 32,
            layers: 6,
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            mlp: 64,
            theta: 10000.0,
            eps: 1e-5,
            max_positions: 8192,
        }
    }
}

/// The random model of some sizes.
#[derive(Debug, Clone)]
pub struct Random {
    config: Config,
}

impl Random {
    /// Sizes that contradict each other are an error.
    pub fn new(sizes: &Sizes) -> Result<Self> {
        let config = Config {
            architecture: "random".into(),
            hidden: sizes.hidden,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            head_dim: sizes.head_dim,
            mlp: sizes.mlp,
            vocab: sizes.vocab,
            max_positions: sizes.max_positions,
            eps: sizes.eps,
            scale: (1.0 / (sizes.head_dim as f64).sqrt()) as f32,
            layers: vec![LayerShape::default(); sizes.layers],
            rotaries: vec![RotaryConfig::plain(sizes.theta, sizes.head_dim, Pairing::Half)],
            qkv_bias: false,
            qk_norm: false,
            post_norms: false,
            tied_head: false,
            embed_scale: 1.0,
            residual_scale: 1.0,
            logit_scale: 1.0,
            activation: Activation::Silu,
        };
        config.check()?;
        Ok(Self { config })
    }
}

impl Weights for Random {
    fn config(&self) -> &Config {
        &self.config
    }

    fn matrix(&self, part: Part) -> Result<Weight> {
        let (rows, cols) = part.shape(&self.config);
        Ok(Weight::from_f32(values(part, &self.config), rows, cols)?)
    }

    fn vector(&self, part: Part) -> Result<Vec<f32>> {
        Ok(values(part, &self.config))
    }
}

/// The values of a part, row-major.
pub fn values(part: Part, config: &Config) -> Vec<f32> {
    let (rows, cols) = part.shape(config);
    let scale = match part {
        Part::Embedding => 1.0,
        Part::Layer(_, LayerPart::Query | LayerPart::Key) => 0.5,
        _ if rows > 1 => 0.25,
        _ => return vec![1.0; cols],
    };
    hashed(&part.hugging_face(config.post_norms), rows * cols, scale)
}

/// `n` numbers from `[-scale, scale)` that hang on the name alone.
pub fn hashed(name: &str, n: usize, scale: f32) -> Vec<f32> {
    stream(name).take(n).map(|x| unit(x) * scale).collect()
}

/// `n` token ids below `vocab`: the prompt of the golden values.
pub fn golden_ids(n: usize, vocab: u32) -> Vec<u32> {
    stream("input_ids").take(n).map(|x| (x % u64::from(vocab.max(1))) as u32).collect()
}

fn unit(x: u64) -> f32 {
    ((x >> 40) as f64 / f64::from(1u32 << 23) - 1.0) as f32
}

/// splitmix64, seeded with the name.
fn stream(name: &str) -> impl Iterator<Item = u64> {
    let seed = fnv1a(FNV_START, name.bytes());
    (0..).map(move |index| splitmix64(seed, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reproduces_the_golden_generator() {
        assert_eq!(golden_ids(48, 97)[..12], [91, 51, 69, 5, 7, 57, 2, 82, 63, 76, 2, 39]);
        let random = Random::new(&Sizes::default()).unwrap();
        let mut row = [0f32; 32];
        random.matrix(Part::Layer(0, LayerPart::Query)).unwrap().dequantize_row(0, &mut row).unwrap();
        for (got, want) in row.iter().zip([-0.0806987f32, -0.433_059, 0.3565875, -0.0526483]) {
            assert!((got - want).abs() < 1e-7, "{got} {want}");
        }
        assert_eq!(random.vector(Part::FinalNorm).unwrap(), [1.0; 32]);
    }

    #[test]
    fn refuses_sizes_that_contradict() {
        for sizes in [Sizes { kv_heads: 3, ..Sizes::default() }, Sizes { layers: 0, ..Sizes::default() }] {
            assert!(Random::new(&sizes).is_err());
        }
    }
}
