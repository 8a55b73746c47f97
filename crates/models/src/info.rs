use std::collections::BTreeMap;

use serde::Serialize;
use skimlm_core::{LayerShape, Result, Shape};

use crate::families::default_filter_layer;
use crate::fingerprint::fingerprint;
use crate::rope::{RotaryConfig, Scaling};
use crate::source::Source;
use crate::weights::scan::Listed;

/// What a model's header says about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// The architecture as the file names it.
    pub architecture: String,
    /// Number of layers.
    pub layers: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Key and value heads of a layer.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Positions the model was trained for.
    pub max_positions: usize,
    /// The block format that most weights have; none if most are plain floats.
    pub quantization: Option<String>,
    /// Number of weights.
    pub parameters: u64,
    /// The Jinja chat template, if the model has one.
    pub chat_template: Option<String>,
    /// The layer that selects tokens unless told otherwise.
    pub default_filter_layer: usize,
    /// The kinds of rotation in use.
    pub rope: Vec<RopeInfo>,
    /// Positions that layers with a sliding window see; none if no layer has one.
    pub window: Option<u32>,
    /// One entry a layer; its rotation is an index of `rope`.
    pub layout: Vec<LayerShape>,
    /// The tensors by number format, most bytes first.
    pub tensor_types: Vec<TensorTypeInfo>,
    /// A short name for these very weights.
    pub fingerprint: String,
    /// The sizes that policies are checked against.
    #[serde(skip)]
    pub shape: Shape,
}

/// One kind of rotation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RopeInfo {
    /// `default`, `linear`, `dynamic`, `llama3`, `yarn`, `longrope`, or `stored` for a table of factors
    /// beside the weights.
    pub kind: &'static str,
    /// Base of the frequencies.
    pub base: f64,
    /// How far the context was stretched, where the files state it.
    pub factor: Option<f64>,
    /// Positions of the context before that, where the files state them.
    pub original_positions: Option<f64>,
    /// Numbers of a head that are rotated.
    pub dims: usize,
}

impl From<&RotaryConfig> for RopeInfo {
    fn from(rotary: &RotaryConfig) -> Self {
        let (kind, factor, original_positions) = match &rotary.scaling {
            Scaling::None => ("default", None, None),
            Scaling::Linear { factor } => ("linear", Some(*factor), None),
            Scaling::Dynamic { factor, original } => ("dynamic", Some(*factor), Some(*original)),
            Scaling::Llama3 { factor, original, .. } => ("llama3", Some(*factor), Some(*original)),
            Scaling::Yarn(yarn) => ("yarn", Some(yarn.factor), Some(yarn.original)),
            Scaling::LongRope { original, .. } => ("longrope", None, Some(*original)),
            Scaling::Stored { .. } => ("stored", None, None),
        };
        Self { kind, base: rotary.base, factor, original_positions, dims: rotary.dims }
    }
}

/// The tensors of one number format.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorTypeInfo {
    /// The format's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many tensors have it.
    pub tensors: usize,
    /// How many values they hold.
    pub elements: u64,
    /// Their bytes in the file; 0 for a format of unknown size.
    pub bytes: u64,
    /// Whether there is a kernel for it.
    pub supported: bool,
}

/// Reads a model's header, the first bytes of each tensor (for the fingerprint) and, of a folder, the files about text.
///
/// A number format without a kernel is listed, not an error; an unknown architecture is
/// `ERR_MODEL_UNSUPPORTED`.
pub fn inspect_source(source: &Source) -> Result<ModelInfo> {
    let weights = source.weights()?;
    let (config, tensors) = (weights.config(), source.listed());
    let tensor_types = tensor_types(&tensors);
    Ok(ModelInfo {
        architecture: config.architecture.clone(),
        layers: config.layers.len(),
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        hidden_size: config.hidden,
        vocab_size: config.vocab,
        max_positions: config.max_positions,
        quantization: quantization(&tensor_types),
        parameters: parameters(&tensors),
        chat_template: source.chat_template()?,
        default_filter_layer: default_filter_layer(config),
        rope: config.rotaries.iter().map(RopeInfo::from).collect(),
        window: config.layers.iter().filter_map(|layer| layer.window).max(),
        layout: config.layers.clone(),
        tensor_types,
        fingerprint: fingerprint(&tensors),
        shape: config.shape(),
    })
}

/// The format that most values have; none if they are plain floats.
fn quantization(types: &[TensorTypeInfo]) -> Option<String> {
    let most = types.iter().max_by_key(|of| of.elements)?;
    (!["F32", "F16", "BF16", "F64"].contains(&most.kind.as_str())).then(|| most.kind.clone())
}

/// Whether most values are plain floats.
pub(crate) fn of_floats(tensors: &[Listed<'_>]) -> bool {
    quantization(&tensor_types(tensors)).is_none()
}

/// All tensors but the rotary factors, which nobody trained.
fn parameters(tensors: &[Listed<'_>]) -> u64 {
    let trained =
        tensors.iter().filter(|tensor| !tensor.name.starts_with("rope_") && !tensor.name.contains("rotary_emb"));
    trained.fold(0, |all, tensor| all.saturating_add(tensor.elements))
}

fn tensor_types(tensors: &[Listed<'_>]) -> Vec<TensorTypeInfo> {
    let mut types: BTreeMap<&str, TensorTypeInfo> = BTreeMap::new();
    for tensor in tensors {
        let of = types.entry(&tensor.kind).or_insert_with(|| TensorTypeInfo {
            kind: tensor.kind.clone(),
            tensors: 0,
            elements: 0,
            bytes: 0,
            supported: tensor.block.is_some(),
        });
        of.tensors += 1;
        of.elements = of.elements.saturating_add(tensor.elements);
        of.bytes += tensor.bytes.len() as u64;
    }
    let mut types: Vec<_> = types.into_values().collect();
    types.sort_by_key(|of| std::cmp::Reverse(of.bytes));
    types
}
