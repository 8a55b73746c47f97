use candle_core::{Device, Tensor};
use serde::Serialize;
use skimlm_kernels::rope::Rotary;
use skimlm_kernels::steps::Steps;

use crate::error::Result;

/// The sizes of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Key and value heads of a layer; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Positions the model was trained for.
    pub max_positions: usize,
    /// Factor on `q.k` before the softmax, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// One entry a layer.
    pub layers: Vec<LayerShape>,
}

/// What may differ from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LayerShape {
    /// Positions a row sees, its own included; none: all earlier ones.
    pub window: Option<u32>,
    /// Which of the model's rotations the layer uses.
    #[serde(rename = "rope")]
    pub rotary: usize,
}

/// Which projections of a layer are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    /// Queries.
    pub q: bool,
    /// Keys.
    pub k: bool,
    /// Values.
    pub v: bool,
}

impl Which {
    /// All three.
    pub const ALL: Self = Self { q: true, k: true, v: true };
    /// Queries only.
    pub const Q: Self = Self { q: true, k: false, v: false };
    /// Keys only.
    pub const K: Self = Self { q: false, k: true, v: false };
    /// Values only.
    pub const V: Self = Self { q: false, k: false, v: true };
}

/// The projections asked for, not rotated yet.
#[derive(Debug)]
pub struct Projected {
    /// `[rows, heads, head_dim]`.
    pub q: Option<Tensor>,
    /// `[rows, kv_heads, head_dim]`.
    pub k: Option<Tensor>,
    /// `[rows, kv_heads, head_dim]`.
    pub v: Option<Tensor>,
}

/// A decoder: weights and nothing else. It knows no cache, mask, position or policy.
///
/// Activations are f32 tensors on the model's device. What a method fails with is what a kernel or a tensor operation
/// says: `ERR_OUT_OF_MEMORY` or `ERR_DEVICE` on a GPU, else `ERR_INTERNAL` or `ERR_INVALID_ARG`.
pub trait Model: Send + Sync {
    /// The sizes.
    fn shape(&self) -> &Shape;

    /// Where the weights are.
    fn device(&self) -> &Device;

    /// The rotations of a text whose positions stay below `length`, indexed by
    /// [`LayerShape::rotary`]. Tables may depend on the length (LongRoPE), and those of two lengths
    /// must not meet in one cache: whoever holds a cache holds what its keys were turned by.
    fn rotaries(&self, length: usize) -> Vec<Rotary>;

    /// Token ids to rows `[ids, hidden]`. An id outside the vocabulary is an error.
    fn embed(&self, ids: &[u32]) -> Result<Tensor>;

    /// The row `[1, hidden]` of the token that the next of some steps reads. Default: by way of the host, which a GPU
    /// cannot record.
    fn embed_ahead(&self, steps: &Steps) -> Result<Tensor> {
        self.embed(&[steps.token()?])
    }

    /// The attention norm and the projections `which` of `x` `[rows, hidden]`.
    fn project(&self, layer: usize, x: &Tensor, which: Which) -> Result<Projected>;

    /// Output projection, residual and MLP: `x` `[rows, hidden]` and `attended`
    /// `[rows, heads, head_dim]`, which goes as soon as it has been multiplied, to the layer's output `[rows, hidden]`.
    fn finish(&self, layer: usize, x: &Tensor, attended: Tensor) -> Result<Tensor>;

    /// The final norm and the output head: `x` `[rows, hidden]` to logits `[rows, vocab]`.
    fn head(&self, x: &Tensor) -> Result<Tensor>;
}
