//! A decoder whose weights can be trained: the forward pass of [`skimlm_models::Decoder`] in operations
//! that have a gradient.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use skimlm_core::{Code, Error, Result};
use skimlm_models::weights::{LayerPart, Part, Weights};
use skimlm_models::{Activation, Config};

use crate::lora::Adapter;
use crate::ops::{Heads, Turns, attention, frozen_linear, rms_norm, rotate, silu_mul};
use crate::random::Random;
use crate::sees::Sees;

/// One tensor of the model.
#[derive(Debug, Clone)]
enum Weight {
    Trained(Var),
    Frozen(Tensor),
}

/// A decoder in training, on the processor. Weights are f32, q and k in the order of Hugging Face checkpoints.
#[derive(Debug)]
pub struct Net {
    config: Config,
    /// By Hugging Face name, so that every walk over them is in one order.
    weights: BTreeMap<String, Weight>,
    adapters: BTreeMap<String, Adapter>,
}

/// Rows to read: a batch of sequences of one length.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Token ids, sequence by sequence.
    pub ids: Vec<u32>,
    /// Position of each row.
    pub positions: Vec<u32>,
    /// Who sees whom.
    pub sees: Arc<Sees>,
    /// Rows whose next token is wanted.
    pub asked: Vec<u32>,
    /// The token that follows each of them.
    pub answers: Vec<u32>,
}

/// Deviation of random weights: smaller ones do not leave the plateau.
const INIT: f32 = 0.05;

impl Net {
    /// Random weights.
    pub fn random(config: Config, seed: u64) -> Result<Self> {
        supported(&config)?;
        let mut random = Random::new(seed, u64::MAX);
        let shrink = 1.0 / (2.0 * config.layers.len() as f32).sqrt();
        let mut weights = BTreeMap::new();
        for part in Part::all(&config) {
            let (rows, cols) = part.shape(&config);
            let n = rows * cols;
            let values = match part {
                _ if part.is_norm() => vec![1.0; n],
                // What joins the residual stream grows with the depth unless it starts smaller.
                Part::Layer(_, LayerPart::Output | LayerPart::Down) => random.normals(n, INIT * shrink),
                Part::Layer(_, LayerPart::QueryBias | LayerPart::KeyBias | LayerPart::ValueBias) => vec![0.0; n],
                _ => random.normals(n, INIT),
            };
            let tensor = tensor(values, rows, cols)?;
            weights.insert(part.hugging_face(false), Weight::Trained(Var::from_tensor(&tensor)?));
        }
        Ok(Self { config, weights, adapters: BTreeMap::new() })
    }

    /// The weights of a model, dequantised; all of them trained, or none (for [`Net::adapt`] and evaluation).
    pub fn from_weights(source: &dyn Weights, trained: bool) -> Result<Self> {
        let mut config = source.config().clone();
        supported(&config)?;
        let interleaved: Vec<bool> =
            config.rotaries.iter().map(|r| r.pairing == skimlm_models::rope::Pairing::Interleaved).collect();
        config.rotaries.iter_mut().for_each(|r| r.pairing = skimlm_models::rope::Pairing::Half);
        let mut weights = BTreeMap::new();
        for part in Part::all(&config) {
            let matrix = source.matrix(part)?;
            let (rows, cols) = part.shape(&config);
            let mut values = vec![0f32; rows * cols];
            for (row, to) in values.chunks_exact_mut(cols).enumerate() {
                matrix.dequantize_row(row, to)?;
            }
            if let Part::Layer(layer, kind) = part
                && interleaved[config.layers[layer].rotary]
            {
                values = match kind {
                    LayerPart::Query | LayerPart::Key => halves(&values, config.head_dim, cols),
                    LayerPart::QueryBias | LayerPart::KeyBias => halves(&values, config.head_dim, 1),
                    _ => values,
                };
            }
            let tensor = tensor(values, rows, cols)?;
            let weight = if trained { Weight::Trained(Var::from_tensor(&tensor)?) } else { Weight::Frozen(tensor) };
            weights.insert(part.hugging_face(false), weight);
        }
        Ok(Self { config, weights, adapters: BTreeMap::new() })
    }

    /// Puts a trained adapter of some rank on every projection (LoRA, arXiv 2106.09685).
    pub fn adapt(&mut self, rank: usize, seed: u64) -> Result<()> {
        let mut random = Random::new(seed, u64::MAX);
        for part in Part::all(&self.config) {
            let Part::Layer(..) = part else { continue };
            let (rows, cols) = part.shape(&self.config);
            if !part.is_norm() && rows > 1 {
                let adapter = Adapter::new(rank, rows, cols, &mut random)?;
                self.adapters.insert(part.hugging_face(false), adapter);
            }
        }
        Ok(())
    }

    /// Sizes and settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is trained: name and variable, in a fixed order.
    pub fn trained(&self) -> Vec<(String, Var)> {
        let weights = self.weights.iter().filter_map(|(name, weight)| match weight {
            Weight::Trained(var) => Some((name.clone(), var.clone())),
            Weight::Frozen(_) => None,
        });
        let adapters = self.adapters.iter().flat_map(|(name, adapter)| adapter.trained(name));
        weights.chain(adapters).collect()
    }

    /// Every weight as the model without adapters has it: name and tensor.
    pub fn merged(&self) -> Result<Vec<(String, Tensor)>> {
        let merge = |(name, weight): (&String, &Weight)| {
            let weight = weight.tensor();
            let merged = match self.adapters.get(name) {
                Some(adapter) => adapter.merged(weight)?,
                None => weight.clone(),
            };
            Ok((name.clone(), merged.detach()))
        };
        self.weights.iter().map(merge).collect()
    }

    /// Logits `[asked, vocab]` of the rows that a batch asks for.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        let Config { heads, kv_heads, head_dim, scale, eps, .. } = self.config;
        let heads = Heads { count: heads, kv: kv_heads, dim: head_dim, scale };
        let length = batch.positions.iter().max().map_or(0, |&p| p as usize + 1);
        let turns: Vec<Turns> =
            self.config.rotaries.iter().map(|r| Turns::new(&r.rotary(length), &batch.positions)).collect();
        if let Some(window) = self.config.layers.iter().filter_map(|l| l.window).find(|&w| (w as usize) < length) {
            let what = format!("a layer sees {window} positions; train on at most that many, not {length}.");
            return Err(Error::invalid_option("context", length, what));
        }
        let ids = Tensor::from_slice(&batch.ids, batch.ids.len(), &Device::Cpu)?;
        let embedding = self.weight(Part::Embedding)?.tensor();
        let mut x = embedding.index_select(&ids, 0)?; // (rows, hidden)
        for (l, shape) in self.config.layers.iter().enumerate() {
            let turns = turns
                .get(shape.rotary)
                .ok_or_else(|| Error::new(Code::Internal, format!("layer {l} has no rotation.")))?;
            let normed = self.norm(&x, Part::Layer(l, LayerPart::AttentionNorm), eps)?;
            let q = self.project(&normed, l, LayerPart::Query, LayerPart::QueryBias)?;
            let k = self.project(&normed, l, LayerPart::Key, LayerPart::KeyBias)?;
            let v = self.project(&normed, l, LayerPart::Value, LayerPart::ValueBias)?;
            let (q, k) = (rotate(&q, head_dim, turns)?, rotate(&k, head_dim, turns)?);
            let attended = attention(&q, &k, &v, heads, &batch.sees)?;
            x = (x + self.linear(&attended, Part::Layer(l, LayerPart::Output))?)?;
            let normed = self.norm(&x, Part::Layer(l, LayerPart::MlpNorm), eps)?;
            let gate = self.linear(&normed, Part::Layer(l, LayerPart::Gate))?;
            let up = self.linear(&normed, Part::Layer(l, LayerPart::Up))?;
            x = (x + self.linear(&silu_mul(&gate, &up)?, Part::Layer(l, LayerPart::Down))?)?;
        }
        let asked = Tensor::from_slice(&batch.asked, batch.asked.len(), &Device::Cpu)?;
        let x = self.norm(&x.index_select(&asked, 0)?, Part::FinalNorm, eps)?;
        self.linear(&x, if self.config.tied_head { Part::Embedding } else { Part::Head })
    }

    /// The mean loss of a batch's answers, and the token that the model ranks first in place of each.
    pub fn loss(&self, batch: &Batch) -> Result<(Tensor, Vec<u32>)> {
        let logits = self.logits(batch)?;
        let max = logits.max_keepdim(1)?.detach();
        let shifted = logits.broadcast_sub(&max)?;
        let total = shifted.exp()?.sum(1)?.log()?; // (asked)
        let answers = Tensor::from_slice(&batch.answers, (batch.answers.len(), 1), &Device::Cpu)?;
        let chosen = shifted.gather(&answers, 1)?.squeeze(1)?;
        let first = logits.detach().argmax(1)?.to_vec1::<u32>()?;
        Ok(((total - chosen)?.mean_all()?, first))
    }

    fn weight(&self, part: Part) -> Result<&Weight> {
        let name = part.hugging_face(false);
        self.weights.get(&name).ok_or_else(|| Error::new(Code::Internal, format!("there is no weight {name}.")))
    }

    fn norm(&self, x: &Tensor, part: Part, eps: f32) -> Result<Tensor> {
        Ok(rms_norm(x, self.weight(part)?.tensor(), eps)?)
    }

    fn linear(&self, x: &Tensor, part: Part) -> Result<Tensor> {
        let y = match self.weight(part)? {
            Weight::Trained(var) => x.matmul(&var.t()?)?,
            Weight::Frozen(tensor) => frozen_linear(x, tensor)?,
        };
        match self.adapters.get(&part.hugging_face(false)) {
            Some(adapter) => adapter.add(x, y),
            None => Ok(y),
        }
    }

    fn project(&self, x: &Tensor, layer: usize, weight: LayerPart, bias: LayerPart) -> Result<Tensor> {
        let y = self.linear(x, Part::Layer(layer, weight))?;
        if !self.config.qkv_bias {
            return Ok(y);
        }
        Ok(y.broadcast_add(self.weight(Part::Layer(layer, bias))?.tensor())?)
    }
}

impl Weight {
    fn tensor(&self) -> &Tensor {
        match self {
            Self::Trained(var) => var.as_tensor(),
            Self::Frozen(tensor) => tensor,
        }
    }
}

fn tensor(values: Vec<f32>, rows: usize, cols: usize) -> Result<Tensor> {
    let tensor = Tensor::from_vec(values, (rows, cols), &Device::Cpu)?;
    Ok(if rows == 1 { tensor.squeeze(0)? } else { tensor })
}

/// Rows of interleaved heads in the order of Hugging Face checkpoints: the first numbers of all pairs, then
/// the second ones.
fn halves(values: &[f32], head_dim: usize, cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head_dim * cols) {
        for second in 0..2 {
            for pair in 0..head_dim / 2 {
                out.extend_from_slice(&head[(2 * pair + second) * cols..][..cols]);
            }
        }
    }
    out
}

/// `ERR_MODEL_UNSUPPORTED` for what the trainer's decoder leaves out.
fn supported(config: &Config) -> Result<()> {
    let out = [
        (config.qk_norm, "norms of queries and keys"),
        (config.post_norms, "norms behind attention and MLP"),
        (config.activation != Activation::Silu, "a gate other than SiLU"),
        (config.embed_scale != 1.0, "scaled embeddings"),
        (config.residual_scale != 1.0, "scaled residuals"),
        (config.logit_scale != 1.0, "scaled logits"),
        (config.rotaries.iter().any(|r| r.dims != config.head_dim), "rotations of a part of each head"),
    ];
    match out.iter().find(|(found, _)| *found) {
        Some((_, what)) => Err(Error::new(
            Code::ModelUnsupported,
            format!(
                "The model `{}` has {what}, which the trainer does not know; train a Llama, Mistral or Qwen2 model.",
                config.architecture
            ),
        )
        .with("architecture", config.architecture.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use skimlm_core::LayerShape;

    use super::*;
    use crate::anchors;
    use crate::sees::anchored;

    #[test]
    fn the_gradient_is_the_slope() {
        let mut config = anchors::config(16, 2, 24).unwrap();
        (config.kv_heads, config.vocab) = (2, 13);
        config.layers = vec![LayerShape::default(); 2];
        let net = Net::random(config, 3).unwrap();
        let rows = 9;
        let rule = anchored(&(0..rows).map(|r| u32::from(r % 4 == 3)).collect::<Vec<_>>());
        let batch = Batch {
            ids: (0..2 * rows as u32).map(|i| i * 7 % 13).collect(),
            positions: (0..2 * rows as u32).map(|i| i % rows as u32).collect(),
            sees: Arc::new(Sees::new(1, rows, |_, row, column| rule(row, column))),
            asked: vec![2, 3, 8, 11, 17],
            answers: vec![1, 5, 7, 0, 12],
        };
        let loss = || f64::from(net.loss(&batch).unwrap().0.to_scalar::<f32>().unwrap());
        // Larger weights than a model starts with, so that every part has a slope worth measuring.
        for (_, var) in net.trained() {
            if var.rank() > 1 {
                var.set(&(var.as_tensor() * 6.0).unwrap()).unwrap();
            }
        }
        let grads = net.loss(&batch).unwrap().0.backward().unwrap();
        for (name, var) in net.trained() {
            let grad = grads.get(&var).unwrap_or_else(|| panic!("{name} has no gradient"));
            let values = grad.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let before = var.as_detached_tensor().copy().unwrap();
            let length = values.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
            assert!(length > 1e-4, "{name} has the gradient {length}");
            // Along its own gradient the loss rises by the gradient's length.
            let along = (grad / length).unwrap();
            let at = |by: f64| {
                var.set(&(&before + (&along * by).unwrap()).unwrap()).unwrap();
                loss()
            };
            let h = 4e-3;
            let slope = (at(h) - at(-h)) / (2.0 * h);
            at(0.0);
            assert!((slope - length).abs() < 0.02 * length + 1e-4, "{name}: slope {slope}, gradient {length}");
        }
    }
}
