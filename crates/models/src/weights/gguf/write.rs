//! Small GGUF files for tests, made on the spot.
//!
//! [`write_tiny`] writes a whole model: the [`random`] one in the llama layout, with a byte-level BPE
//! vocabulary and a ChatML template, so that everything from file to text runs without a download.

use std::path::Path;

use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use skimlm_core::{Code, Error, Result};
use skimlm_kernels::linear::BlockType;

use super::TensorType;
use crate::weights::random::{self, Random, Sizes};
use crate::weights::{LayerPart, Part, Weights};

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Meta {
    /// A 32-bit unsigned integer.
    U32(u32),
    /// A 32-bit float.
    F32(f32),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A list of 32-bit signed integers.
    I32s(Vec<i32>),
    /// Any type by its number, with its bytes.
    Raw(u32, Vec<u8>),
}

/// A tensor's entry and bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorData {
    /// Its name.
    pub name: String,
    /// Its sizes, the fastest running first.
    pub dims: Vec<u64>,
    /// Its number format.
    pub kind: TensorType,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl TensorData {
    /// A matrix `[rows, cols]` (a vector if there is one row) in a block format, by candle's own
    /// conversion.
    pub fn new(name: &str, values: &[f32], cols: usize, block: BlockType) -> Result<Self> {
        let kind = TensorType::of(block)
            .ok_or_else(|| Error::new(Code::ModelUnsupported, format!("{block:?} is no number format of tensors")))?;
        let rows = values.len() / cols.max(1);
        let dims = if rows == 1 { vec![cols as u64] } else { vec![cols as u64, rows as u64] };
        let tensor = Tensor::from_slice(values, (rows, cols), &Device::Cpu)?;
        let bytes = QTensor::quantize(&tensor, block)?.data()?.into_owned();
        Ok(Self { name: name.into(), dims, kind, bytes })
    }
}

/// A file's bytes: version 3, tensors in the given order at the alignment the metadata states.
pub fn gguf_bytes(metadata: &[(String, Meta)], tensors: &[TensorData]) -> Vec<u8> {
    let alignment = metadata.iter().find_map(|(key, value)| match value {
        Meta::U32(n) if key == "general.alignment" => Some(*n as usize),
        _ => None,
    });
    let alignment = alignment.unwrap_or(32).max(1);
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        value.put(&mut out);
    }
    let mut offset = 0;
    for tensor in tensors {
        text(&mut out, &tensor.name);
        out.extend((tensor.dims.len() as u32).to_le_bytes());
        tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
        out.extend(tensor.kind.0.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes.len().next_multiple_of(alignment);
    }
    for tensor in tensors {
        out.resize(out.len().next_multiple_of(alignment), 0);
        out.extend(&tensor.bytes);
    }
    out
}

/// Writes [`gguf_bytes`] to a file.
pub fn write_gguf(path: &Path, metadata: &[(String, Meta)], tensors: &[TensorData]) -> Result<()> {
    std::fs::write(path, gguf_bytes(metadata, tensors)).map_err(|error| {
        Error::new(Code::Internal, format!("{} cannot be written: {error}", path.display())).caused_by(error)
    })
}

impl Meta {
    fn put(&self, out: &mut Vec<u8>) {
        let kind = |out: &mut Vec<u8>, kind: u32| out.extend(kind.to_le_bytes());
        let list = |out: &mut Vec<u8>, of: u32, len: usize| {
            kind(out, 9);
            kind(out, of);
            out.extend((len as u64).to_le_bytes());
        };
        match self {
            Self::U32(value) => {
                kind(out, 4);
                out.extend(value.to_le_bytes());
            }
            Self::F32(value) => {
                kind(out, 6);
                out.extend(value.to_le_bytes());
            }
            Self::Bool(value) => {
                kind(out, 7);
                out.push(u8::from(*value));
            }
            Self::Text(value) => {
                kind(out, 8);
                text(out, value);
            }
            Self::Texts(values) => {
                list(out, 8, values.len());
                values.iter().for_each(|value| text(out, value));
            }
            Self::I32s(values) => {
                list(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::Raw(number, bytes) => {
                kind(out, *number);
                out.extend(bytes);
            }
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A tiny model of the llama architecture.
#[derive(Debug, Clone)]
pub struct Tiny {
    /// Its sizes. With a tokenizer the vocabulary must hold at least [`Vocabulary::tiny`].
    pub sizes: Sizes,
    /// The format of its matrices; K-quants need sizes that are multiples of 256.
    pub block: BlockType,
    /// Whether the file carries a tokenizer.
    pub tokenizer: bool,
    /// The chat template in the file.
    pub chat_template: Option<String>,
}

/// ChatML, without a system message of its own.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] \
                          + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

impl Default for Tiny {
    /// The golden weights with [`Vocabulary::tiny`]: the embedding of ids below 97 and the first 97
    /// logits are those of the golden model.
    fn default() -> Self {
        Self {
            sizes: Sizes { vocab: Vocabulary::tiny().tokens.len(), ..Sizes::default() },
            block: BlockType::F32,
            tokenizer: true,
            chat_template: Some(CHATML.into()),
        }
    }
}

/// Writes a [`Tiny`] model.
pub fn write_tiny(path: &Path, tiny: &Tiny) -> Result<()> {
    write_gguf(path, &tiny.metadata()?, &tiny.tensors()?)
}

impl Tiny {
    /// The metadata of its file.
    pub fn metadata(&self) -> Result<Vec<(String, Meta)>> {
        let Sizes { vocab, hidden, layers, heads, kv_heads, head_dim, mlp, theta, eps, max_positions } = self.sizes;
        let number = |n: usize| Meta::U32(n as u32);
        let mut all = vec![
            ("general.architecture".to_owned(), Meta::Text("llama".into())),
            ("general.name".into(), Meta::Text("tiny".into())),
            ("llama.block_count".into(), number(layers)),
            ("llama.context_length".into(), number(max_positions)),
            ("llama.embedding_length".into(), number(hidden)),
            ("llama.feed_forward_length".into(), number(mlp)),
            ("llama.attention.head_count".into(), number(heads)),
            ("llama.attention.head_count_kv".into(), number(kv_heads)),
            ("llama.attention.key_length".into(), number(head_dim)),
            ("llama.attention.value_length".into(), number(head_dim)),
            ("llama.attention.layer_norm_rms_epsilon".into(), Meta::F32(eps)),
            ("llama.rope.freq_base".into(), Meta::F32(theta as f32)),
            ("llama.rope.dimension_count".into(), number(head_dim)),
            ("llama.vocab_size".into(), number(vocab)),
        ];
        if self.tokenizer {
            let vocabulary = Vocabulary::tiny().padded(vocab)?;
            all.extend([
                ("tokenizer.ggml.model".to_owned(), Meta::Text("gpt2".into())),
                ("tokenizer.ggml.pre".into(), Meta::Text("smollm".into())),
                ("tokenizer.ggml.tokens".into(), Meta::Texts(vocabulary.tokens)),
                ("tokenizer.ggml.token_type".into(), Meta::I32s(vocabulary.types)),
                ("tokenizer.ggml.merges".into(), Meta::Texts(vocabulary.merges)),
                ("tokenizer.ggml.bos_token_id".into(), Meta::U32(1)),
                ("tokenizer.ggml.eos_token_id".into(), Meta::U32(2)),
                ("tokenizer.ggml.unknown_token_id".into(), Meta::U32(0)),
                ("tokenizer.ggml.padding_token_id".into(), Meta::U32(2)),
                ("tokenizer.ggml.add_bos_token".into(), Meta::Bool(false)),
                ("tokenizer.ggml.add_space_prefix".into(), Meta::Bool(false)),
            ]);
        }
        all.extend(self.chat_template.clone().map(|t| ("tokenizer.chat_template".to_owned(), Meta::Text(t))));
        Ok(all)
    }

    /// The tensors of its file.
    pub fn tensors(&self) -> Result<Vec<TensorData>> {
        let random = Random::new(&self.sizes)?;
        let config = random.config();
        Part::all(config)
            .map(|part| {
                let (rows, cols) = part.shape(config);
                let values = random::values(part, config);
                let values = match part {
                    Part::Layer(_, LayerPart::Query) => interleave(&values, config.heads, cols),
                    Part::Layer(_, LayerPart::Key) => interleave(&values, config.kv_heads, cols),
                    _ => values,
                };
                TensorData::new(&part.gguf(), &values, cols, if rows == 1 { BlockType::F32 } else { self.block })
            })
            .collect()
    }
}

/// The order of rows in llama files: `i` and `i + dim / 2` of a head stand beside each other.
pub(crate) fn interleave(values: &[f32], heads: usize, cols: usize) -> Vec<f32> {
    let dim = values.len() / cols.max(1) / heads.max(1);
    let source = |row: usize| row / dim * dim + row % dim / 2 + row % 2 * (dim / 2);
    (0..heads * dim).flat_map(|row| &values[source(row) * cols..][..cols]).copied().collect()
}

/// A byte-level BPE vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// Texts of the tokens, bytes in GPT-2's visible encoding.
    pub tokens: Vec<String>,
    /// 1 for plain tokens, 3 for special ones, as GGUF files number them.
    pub types: Vec<i32>,
    /// Merges in order of rank, `left right`.
    pub merges: Vec<String>,
}

impl Vocabulary {
    /// Ids 0 to 2: `<|endoftext|>`, `<|im_start|>`, `<|im_end|>`; 3 to 258: the bytes 0 to 255; then
    /// one token a merge.
    pub fn tiny() -> Self {
        let merges = ["Ġ t", "h e", "Ġt he", "i n", "e r", "Ġ a", "o n", "Ġ s", "a t", "in g", "Ġ o", "Ġo f"];
        let mut tokens: Vec<String> = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).into();
        tokens.extend((0..=255).map(|byte| visible(byte).to_string()));
        tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
        let types = (0..tokens.len()).map(|id| if id < 3 { 3 } else { 1 }).collect();
        Self { tokens, types, merges: merges.map(str::to_owned).into() }
    }

    fn padded(mut self, len: usize) -> Result<Self> {
        if len < self.tokens.len() {
            let least = self.tokens.len();
            return Err(Error::invalid_option("vocab", len, format!("at least {least} with a tokenizer")));
        }
        self.tokens.extend((self.tokens.len()..len).map(|id| format!("<|unused_{id}|>")));
        self.types.resize(len, 5);
        Ok(self)
    }
}

/// GPT-2 shows each byte as one visible character: itself where it is one, else from U+0100 on.
fn visible(byte: u8) -> char {
    let plain = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if plain(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !plain(b)).count() as u32;
    char::from_u32(0x100 + rank).unwrap_or('\u{100}')
}
