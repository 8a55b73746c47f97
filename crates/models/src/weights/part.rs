use crate::config::Config;

/// A tensor of a model by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Token embedding `[vocab, hidden]`.
    Embedding,
    /// Norm before the head `[hidden]`.
    FinalNorm,
    /// Output head `[vocab, hidden]`; absent if tied to the embedding.
    Head,
    /// A part of one layer.
    Layer(usize, LayerPart),
}

/// A tensor of a layer by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerPart {
    /// Norm before attention `[hidden]`.
    AttentionNorm,
    /// Query projection `[heads * head_dim, hidden]`.
    Query,
    /// Key projection `[kv_heads * head_dim, hidden]`.
    Key,
    /// Value projection `[kv_heads * head_dim, hidden]`.
    Value,
    /// Bias of the queries.
    QueryBias,
    /// Bias of the keys.
    KeyBias,
    /// Bias of the values.
    ValueBias,
    /// Norm of each query head `[head_dim]`.
    QueryNorm,
    /// Norm of each key head `[head_dim]`.
    KeyNorm,
    /// Output projection of attention `[hidden, heads * head_dim]`.
    Output,
    /// Norm of what attention gives `[hidden]`.
    PostAttentionNorm,
    /// Norm before the MLP `[hidden]`.
    MlpNorm,
    /// Gate of the MLP `[mlp, hidden]`.
    Gate,
    /// Other input half of the MLP `[mlp, hidden]`.
    Up,
    /// Output half of the MLP `[hidden, mlp]`.
    Down,
    /// Norm of what the MLP gives `[hidden]`.
    PostMlpNorm,
}

impl Part {
    /// Every part that a model of this config has.
    pub fn all(config: &Config) -> impl Iterator<Item = Self> + '_ {
        use LayerPart::{
            AttentionNorm, Down, Gate, Key, KeyBias, KeyNorm, MlpNorm, Output, PostAttentionNorm, PostMlpNorm, Query,
            QueryBias, QueryNorm, Up, Value, ValueBias,
        };
        let always = [AttentionNorm, Query, Key, Value, Output, MlpNorm, Gate, Up, Down];
        let bias = config.qkv_bias.then_some([QueryBias, KeyBias, ValueBias]);
        let norm = config.qk_norm.then_some([QueryNorm, KeyNorm]);
        let post = config.post_norms.then_some([PostAttentionNorm, PostMlpNorm]);
        let switched = bias.into_iter().flatten().chain(norm.into_iter().flatten()).chain(post.into_iter().flatten());
        let layer = always.into_iter().chain(switched);
        [Self::Embedding]
            .into_iter()
            .chain((0..config.layers.len()).flat_map(move |l| layer.clone().map(move |part| Self::Layer(l, part))))
            .chain([Self::FinalNorm])
            .chain((!config.tied_head).then_some(Self::Head))
    }

    /// `(rows, columns)` of a matrix; a vector is one row.
    pub fn shape(self, config: &Config) -> (usize, usize) {
        match self {
            Self::Embedding | Self::Head => (config.vocab, config.hidden),
            Self::FinalNorm => (1, config.hidden),
            Self::Layer(_, part) => match part {
                LayerPart::AttentionNorm
                | LayerPart::MlpNorm
                | LayerPart::PostAttentionNorm
                | LayerPart::PostMlpNorm => (1, config.hidden),
                LayerPart::Query => (config.query_width(), config.hidden),
                LayerPart::Key | LayerPart::Value => (config.key_width(), config.hidden),
                LayerPart::QueryBias => (1, config.query_width()),
                LayerPart::KeyBias | LayerPart::ValueBias => (1, config.key_width()),
                LayerPart::QueryNorm | LayerPart::KeyNorm => (1, config.head_dim),
                LayerPart::Output => (config.hidden, config.query_width()),
                LayerPart::Gate | LayerPart::Up => (config.mlp, config.hidden),
                LayerPart::Down => (config.hidden, config.mlp),
            },
        }
    }

    /// Its name in Hugging Face checkpoints. With post-norms the name of the norm after attention is
    /// the one that other models give to the norm before the MLP.
    pub fn hugging_face(self, post_norms: bool) -> String {
        match self {
            Self::Embedding => "model.embed_tokens.weight".into(),
            Self::FinalNorm => "model.norm.weight".into(),
            Self::Head => "lm_head.weight".into(),
            Self::Layer(layer, part) => {
                let part = match part {
                    LayerPart::AttentionNorm => "input_layernorm.weight",
                    LayerPart::Query => "self_attn.q_proj.weight",
                    LayerPart::Key => "self_attn.k_proj.weight",
                    LayerPart::Value => "self_attn.v_proj.weight",
                    LayerPart::QueryBias => "self_attn.q_proj.bias",
                    LayerPart::KeyBias => "self_attn.k_proj.bias",
                    LayerPart::ValueBias => "self_attn.v_proj.bias",
                    LayerPart::QueryNorm => "self_attn.q_norm.weight",
                    LayerPart::KeyNorm => "self_attn.k_norm.weight",
                    LayerPart::Output => "self_attn.o_proj.weight",
                    LayerPart::MlpNorm if post_norms => "pre_feedforward_layernorm.weight",
                    LayerPart::PostAttentionNorm | LayerPart::MlpNorm => "post_attention_layernorm.weight",
                    LayerPart::PostMlpNorm => "post_feedforward_layernorm.weight",
                    LayerPart::Gate => "mlp.gate_proj.weight",
                    LayerPart::Up => "mlp.up_proj.weight",
                    LayerPart::Down => "mlp.down_proj.weight",
                };
                format!("model.layers.{layer}.{part}")
            }
        }
    }

    /// Whether it is a norm's weight.
    pub fn is_norm(self) -> bool {
        use LayerPart::{AttentionNorm, KeyNorm, MlpNorm, PostAttentionNorm, PostMlpNorm, QueryNorm};
        matches!(
            self,
            Self::FinalNorm
                | Self::Layer(_, AttentionNorm | MlpNorm | QueryNorm | KeyNorm | PostAttentionNorm | PostMlpNorm)
        )
    }

    /// Its name in GGUF files of the common layout.
    pub fn gguf(self) -> String {
        match self {
            Self::Embedding => "token_embd.weight".into(),
            Self::FinalNorm => "output_norm.weight".into(),
            Self::Head => "output.weight".into(),
            Self::Layer(layer, part) => {
                let part = match part {
                    LayerPart::AttentionNorm => "attn_norm.weight",
                    LayerPart::Query => "attn_q.weight",
                    LayerPart::Key => "attn_k.weight",
                    LayerPart::Value => "attn_v.weight",
                    LayerPart::QueryBias => "attn_q.bias",
                    LayerPart::KeyBias => "attn_k.bias",
                    LayerPart::ValueBias => "attn_v.bias",
                    LayerPart::QueryNorm => "attn_q_norm.weight",
                    LayerPart::KeyNorm => "attn_k_norm.weight",
                    LayerPart::Output => "attn_output.weight",
                    LayerPart::PostAttentionNorm => "post_attention_norm.weight",
                    LayerPart::MlpNorm => "ffn_norm.weight",
                    LayerPart::PostMlpNorm => "post_ffw_norm.weight",
                    LayerPart::Gate => "ffn_gate.weight",
                    LayerPart::Up => "ffn_up.weight",
                    LayerPart::Down => "ffn_down.weight",
                };
                format!("blk.{layer}.{part}")
            }
        }
    }
}
