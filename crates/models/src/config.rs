use skimlm_core::{LayerShape, Result, Shape};

use crate::fail::corrupt;
use crate::rope::RotaryConfig;

/// What a decoder must know about a model, whatever its family and its file format.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The architecture's name as the file states it.
    pub architecture: String,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Key and value heads of a layer; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the MLP between its two halves.
    pub mlp: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Positions the model was trained for.
    pub max_positions: usize,
    /// Added to the mean square in every norm.
    pub eps: f32,
    /// Factor on `q.k`.
    pub scale: f32,
    /// One entry a layer; its `rotary` indexes `rotaries`.
    pub layers: Vec<LayerShape>,
    /// The kinds of rotation in use.
    pub rotaries: Vec<RotaryConfig>,
    /// Query, key and value projections add a bias.
    pub qkv_bias: bool,
    /// Queries and keys are normalised head by head before the rotation.
    pub qk_norm: bool,
    /// What attention and the MLP give is normalised before it joins the residual stream.
    pub post_norms: bool,
    /// The output head is the embedding.
    pub tied_head: bool,
    /// Factor on embedded tokens; 1 in most families.
    pub embed_scale: f32,
    /// Factor on what attention and the MLP give, before it joins the residual stream; 1 in most families.
    pub residual_scale: f32,
    /// Factor on logits; 1 in most families.
    pub logit_scale: f32,
    /// Of the gate.
    pub activation: Activation,
}

/// The function on the gate of the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by its tanh form.
    Gelu,
}

impl Config {
    /// Fails with `ERR_MODEL_CORRUPT` where the numbers contradict each other.
    pub fn check(&self) -> Result<()> {
        let corrupt = |what: String| corrupt(format!("{what} Download or convert the model again."));
        let sizes = [
            ("the hidden size", self.hidden),
            ("the number of heads", self.heads),
            ("the number of kv heads", self.kv_heads),
            ("the head size", self.head_dim),
            ("the MLP size", self.mlp),
            ("the vocabulary size", self.vocab),
            ("the context length", self.max_positions),
            ("the number of layers", self.layers.len()),
        ];
        for (what, value) in sizes {
            if value == 0 || value > u32::MAX as usize {
                return Err(corrupt(format!("{what} is {value}; it must be from 1 to {}.", u32::MAX)));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(corrupt(format!("{} heads cannot share {} kv heads evenly.", self.heads, self.kv_heads)));
        }
        // What adds such widths has room for the sum.
        if self.heads.checked_mul(self.head_dim).is_none_or(|width| width > u32::MAX as usize) {
            return Err(corrupt(format!("{} heads of size {} are too many.", self.heads, self.head_dim)));
        }
        let numbers = [
            ("the norm's epsilon", self.eps),
            ("the attention scale", self.scale),
            ("the embedding's scale", self.embed_scale),
            ("the residual's scale", self.residual_scale),
            ("the logits' scale", self.logit_scale),
        ];
        for (what, value) in numbers {
            if !value.is_finite() || value <= 0.0 {
                return Err(corrupt(format!("{what} is {value}; it must be a positive number.")));
            }
        }
        for rotary in &self.rotaries {
            rotary.check(self.head_dim)?;
        }
        if let Some(layer) = self.layers.iter().position(|l| l.rotary >= self.rotaries.len() || l.window == Some(0)) {
            return Err(corrupt(format!("layer {layer} has no such window or rotation: {:?}.", self.layers[layer])));
        }
        Ok(())
    }

    /// Width of all query heads of a row.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads of a row.
    pub fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The part of it that the walk and the policies see.
    pub fn shape(&self) -> Shape {
        Shape {
            hidden: self.hidden,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            vocab: self.vocab,
            max_positions: self.max_positions,
            scale: self.scale,
            layers: self.layers.clone(),
        }
    }
}
