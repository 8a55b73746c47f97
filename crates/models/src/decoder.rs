use candle_core::{Device, Tensor};
use skimlm_core::{Code, Error, Model, Projected, Result, Rotary, Shape, Which};
use skimlm_kernels::linear::{self, Weight, linear, linears};
use skimlm_kernels::norm::{add_rms_norm, rms_norm};
use skimlm_kernels::residual;
use skimlm_kernels::steps::Steps;

use crate::config::{Activation, Config};
use crate::weights::{LayerPart, Part, Weights};

/// A pre-norm decoder with a gated MLP: Llama and its relatives, by the switches of [`Config`].
pub struct Decoder {
    config: Config,
    shape: Shape,
    device: Device,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Weight,
}

struct Layer {
    attention_norm: Tensor,
    q: Projection,
    k: Projection,
    v: Projection,
    output: Weight,
    post_attention_norm: Option<Tensor>,
    mlp_norm: Tensor,
    gate: Weight,
    up: Weight,
    down: Weight,
    post_mlp_norm: Option<Tensor>,
}

/// A projection to heads, with what follows it.
struct Projection {
    weight: Weight,
    bias: Option<Tensor>,
    norm: Option<Tensor>,
    heads: usize,
}

impl Decoder {
    /// Collects the parts of a model. A missing or misshapen part is the source's error.
    pub fn new(weights: &dyn Weights, device: &Device) -> Result<Self> {
        let config = weights.config().clone();
        let vector = |part| -> Result<Tensor> {
            let values = weights.vector(part)?;
            Ok(Tensor::from_slice(&values, values.len(), device)?)
        };
        let matrix = |part| -> Result<Weight> {
            let matrix = weights.matrix(part)?;
            matrix.prepare(device)?;
            Ok(matrix)
        };
        // Rows of it are looked up where it lies; only as a head is it multiplied with.
        let embedding = weights.matrix(Part::Embedding)?;
        let head = if config.tied_head { embedding.clone() } else { weights.matrix(Part::Head)? };
        head.prepare(device)?;
        let layers = (0..config.layers.len())
            .map(|l| {
                let matrix = |part| matrix(Part::Layer(l, part));
                let vector = |part| vector(Part::Layer(l, part));
                let projection = |weight, bias, norm: Option<LayerPart>, heads| -> Result<Projection> {
                    Ok(Projection {
                        weight: matrix(weight)?,
                        bias: config.qkv_bias.then(|| vector(bias)).transpose()?,
                        norm: norm.filter(|_| config.qk_norm).map(vector).transpose()?,
                        heads,
                    })
                };
                use LayerPart as P;
                Ok(Layer {
                    attention_norm: vector(P::AttentionNorm)?,
                    q: projection(P::Query, P::QueryBias, Some(P::QueryNorm), config.heads)?,
                    k: projection(P::Key, P::KeyBias, Some(P::KeyNorm), config.kv_heads)?,
                    v: projection(P::Value, P::ValueBias, None, config.kv_heads)?,
                    output: matrix(P::Output)?,
                    post_attention_norm: config.post_norms.then(|| vector(P::PostAttentionNorm)).transpose()?,
                    mlp_norm: vector(P::MlpNorm)?,
                    gate: matrix(P::Gate)?,
                    up: matrix(P::Up)?,
                    down: matrix(P::Down)?,
                    post_mlp_norm: config.post_norms.then(|| vector(P::PostMlpNorm)).transpose()?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let norm = vector(Part::FinalNorm)?;
        Ok(Self { shape: config.shape(), config, device: device.clone(), embedding, layers, norm, head })
    }

    /// The settings behind the shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn layer(&self, layer: usize) -> Result<&Layer> {
        self.layers.get(layer).ok_or_else(|| {
            Error::invalid_option("layer", layer, format!("from 0 to {}", self.layers.len().saturating_sub(1)))
        })
    }

    /// What attention or the MLP gives as it joins the residual stream.
    fn joining(&self, x: Tensor, norm: &Option<Tensor>) -> Result<Tensor> {
        let x = match norm {
            Some(norm) => rms_norm(&x, norm, self.config.eps)?,
            None => x,
        };
        scaled(x, self.config.residual_scale)
    }

    /// Bias, heads and head norm of a product `[rows, heads * head_dim]`.
    fn heads(&self, projection: &Projection, product: Tensor) -> Result<Tensor> {
        let biased = match &projection.bias {
            Some(bias) => product.broadcast_add(bias)?,
            None => product,
        };
        let heads = biased.reshape((biased.dim(0)?, projection.heads, self.config.head_dim))?;
        match &projection.norm {
            Some(norm) => Ok(rms_norm(&heads, norm, self.config.eps)?),
            None => Ok(heads),
        }
    }
}

fn scaled(x: Tensor, by: f32) -> Result<Tensor> {
    if by == 1.0 { Ok(x) } else { Ok((x * f64::from(by))?) }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("config", &self.config).field("device", &self.device).finish()
    }
}

impl Model for Decoder {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn rotaries(&self, length: usize) -> Vec<Rotary> {
        self.config.rotaries.iter().map(|rotary| rotary.rotary(length)).collect()
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let vocab = self.config.vocab;
        if let Some((index, &id)) = ids.iter().enumerate().find(|&(_, &id)| id as usize >= vocab) {
            return Err(Error::new(
                Code::InvalidArg,
                format!("Token {id} at index {index} is outside the vocabulary of {vocab}; pass ids below {vocab}."),
            )
            .with("option", "tokens")
            .with("value", id)
            .with("index", index)
            .with("expected", format!("below {vocab}")));
        }
        scaled(linear::embed(ids, &self.embedding, &self.device)?, self.config.embed_scale)
    }

    fn embed_ahead(&self, steps: &Steps) -> Result<Tensor> {
        scaled(linear::embed_ahead(steps, &self.embedding)?, self.config.embed_scale)
    }

    fn project(&self, layer: usize, x: &Tensor, which: Which) -> Result<Projected> {
        let Layer { attention_norm, q, k, v, .. } = self.layer(layer)?;
        let normed = rms_norm(x, attention_norm, self.config.eps)?;
        // One call for all of them reads the rows once.
        let [qs, ks, vs] = match which {
            Which::ALL => linears(&normed, [&q.weight, &k.weight, &v.weight])?.map(Some),
            Which { q: false, k: true, v: true } => {
                let [k, v] = linears(&normed, [&k.weight, &v.weight])?;
                [None, Some(k), Some(v)]
            }
            Which { q: wants_q, k: wants_k, v: wants_v } => {
                let product = |wanted: bool, of: &Projection| wanted.then(|| linear(&normed, &of.weight)).transpose();
                [product(wants_q, q)?, product(wants_k, k)?, product(wants_v, v)?]
            }
        };
        Ok(Projected {
            q: qs.map(|product| self.heads(q, product)).transpose()?, // [rows, heads, head_dim]
            k: ks.map(|product| self.heads(k, product)).transpose()?, // [rows, kv_heads, head_dim]
            v: vs.map(|product| self.heads(v, product)).transpose()?,
        })
    }

    fn finish(&self, layer: usize, x: &Tensor, attended: Tensor) -> Result<Tensor> {
        let layer = self.layer(layer)?;
        let rows = attended.dim(0)?;
        let product = linear(&attended.reshape((rows, self.config.query_width()))?, &layer.output)?;
        drop(attended);
        // The product is nobody else's yet, so the sums may be made in it.
        let sum = self.joining(product, &layer.post_attention_norm)?;
        let normed = add_rms_norm(&sum, x, &layer.mlp_norm, self.config.eps)?;
        let gated = match self.config.activation {
            Activation::Silu => linear::gated(&normed, &layer.gate, &layer.up)?,
            Activation::Gelu => {
                let [gate, up] = linears(&normed, [&layer.gate, &layer.up])?;
                (gate.gelu()? * up)?
            }
        };
        drop(normed);
        let out = self.joining(linear(&gated, &layer.down)?, &layer.post_mlp_norm)?;
        residual::add(&out, &sum)?;
        Ok(out)
    }

    fn head(&self, x: &Tensor) -> Result<Tensor> {
        scaled(linear(&rms_norm(x, &self.norm, self.config.eps)?, &self.head)?, self.config.logit_scale)
    }
}
