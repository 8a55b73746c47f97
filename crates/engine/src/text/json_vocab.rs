use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use skimlm_core::{Code, Error, Result};

use super::alphabet::{SPACE, Writing};
use super::bpe::{self, Habits, damaged};
use super::gguf_vocab::{GgufVocab, is_blank};
use super::sentencepiece::Prefix;
use super::special::SpecialToken;
use super::tokenizer::{Parts, Tokenizer};

/// Rows by which an embedding may be larger than the vocabulary, because models round it up.
const PADDED_ROWS: usize = 1024;

/// What the model's own files say of its tokens; a tokenizer.json does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The token that texts begin with.
    pub bos: Option<u32>,
    /// The tokens that end an answer.
    pub ends: Vec<u32>,
    /// Whether raw text begins with `bos`; none: as the file's post-processor says.
    pub add_bos: Option<bool>,
}

impl From<&GgufVocab> for Declared {
    fn from(vocab: &GgufVocab) -> Self {
        Self { bos: vocab.bos, ends: vocab.ends(), add_bos: vocab.add_bos }
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Bpe,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Bpe {
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    vocab: Value,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Line(String),
    Pair(String, String),
}

impl Tokenizer {
    /// Reads a tokenizer.json. `ERR_TOKENIZER`: not there, not JSON, or neither byte-level BPE
    /// nor BPE as SentencePiece has it.
    pub fn from_json_file(path: &Path, declared: Declared) -> Result<Self> {
        let json = std::fs::read(path).map_err(|e| {
            Error::new(
                Code::Tokenizer,
                format!("The tokenizer {} cannot be read: {e}. Check path and permissions.", path.display()),
            )
            .with("path", path.display().to_string())
            .caused_by(e)
        })?;
        Self::from_json(&json, declared).map_err(|e| e.with("path", path.display().to_string()))
    }

    /// Builds the tokenizer that the bytes of a tokenizer.json describe. `ERR_TOKENIZER` as for a file.
    pub fn from_json(json: &[u8], declared: Declared) -> Result<Self> {
        let file: File = serde_json::from_slice(json).map_err(|e| {
            Error::new(
                Code::Tokenizer,
                format!("This is not a tokenizer.json that can be used: {e}. Download it again."),
            )
            .caused_by(e)
        })?;
        let File { added_tokens, mut normalizer, mut pre_tokenizer, post_processor, decoder, model } = file;
        let odd = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        let plain = model.kind.as_deref().unwrap_or("BPE") == "BPE"
            && !odd(&model.continuing_subword_prefix)
            && !odd(&model.end_of_word_suffix);
        let Some(writing) = writing(&decoder).filter(|_| plain) else {
            let kind = model.kind.unwrap_or_else(|| "BPE".into());
            return Err(Error::new(
                Code::Tokenizer,
                format!(
                    "This tokenizer.json is of a {kind} tokenizer that is neither byte-level BPE nor BPE as \
                     SentencePiece has it. Use a model with one of these."
                ),
            )
            .with("model", kind)
            .with("supported", vec!["byte-level BPE", "SentencePiece BPE"]));
        };
        let prefix = take_prefix(&mut normalizer, &mut pre_tokenizer);
        let Value::Object(vocab) = model.vocab else {
            return Err(damaged("`model.vocab` is not an object"));
        };
        let entries = entries(vocab)?;
        let merges = model
            .merges
            .into_iter()
            .map(|m| match m {
                Merge::Line(line) => bpe::merge(&line),
                Merge::Pair(left, right) => Ok((left, right)),
            })
            .collect::<Result<_>>()?;
        let first = first_token(&post_processor)
            .and_then(|text| added_tokens.iter().find(|token| token.content == text))
            .map(|token| token.id);
        let text = |token: &AddedToken| writing == Writing::SentencePiece && !token.special && is_blank(&token.content);
        let specials = added_tokens
            .into_iter()
            .filter(|token| !text(token))
            .map(|AddedToken { id, content, lstrip, rstrip, special }| SpecialToken {
                id,
                text: content,
                control: special,
                lstrip,
                rstrip,
            })
            .collect();
        Self::from_parts(Parts {
            entries,
            writing,
            merges,
            habits: Habits {
                ignore_merges: model.ignore_merges,
                byte_fallback: model.byte_fallback,
                // Byte-level BPE knows every byte; files name an unknown token all the same.
                unknown: model.unk_token.filter(|_| writing == Writing::SentencePiece),
                fuse_unknown: model.fuse_unk,
            },
            prefix,
            normalizer: part(normalizer, "normalizer")?,
            split: part(pre_tokenizer, "pre_tokenizer")?,
            specials,
            bos: declared.bos.or(first),
            ends: declared.ends,
            add_bos: declared.add_bos.unwrap_or(first.is_some()),
            padded_rows: PADDED_ROWS,
            most_ids: json.len(),
        })
    }
}

fn entries(vocab: Map<String, Value>) -> Result<Vec<(String, u32)>> {
    let id = |text: &str, value: Value| {
        value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| damaged(format!("`{text}` has no id")))
    };
    vocab.into_iter().map(|(text, value)| id(&text, value).map(|id| (text, id))).collect()
}

/// How the entries are written, by what the decoder undoes; none: in no way that is known.
fn writing(decoder: &Value) -> Option<Writing> {
    let has = |kind: &str| find(decoder, kind).is_some();
    if has("ByteLevel") {
        Some(Writing::ByteLevel)
    } else if has("ByteFallback") || has("Metaspace") {
        Some(Writing::SentencePiece)
    } else {
        None
    }
}

/// Takes the space before a text out of the parts that would put it there. They see one piece of a text
/// at a time and not whether it is the first.
fn take_prefix(normalizer: &mut Value, pre_tokenizer: &mut Value) -> Option<Prefix> {
    if let Some(prepend) = find_mut(normalizer, "Prepend").filter(|prepend| prepend["prepend"] == SPACE.to_string()) {
        *prepend = json!({ "type": "Sequence", "normalizers": [] });
        return Some(Prefix { everywhere: true, unless_spaced: false });
    }
    let metaspace = find_mut(pre_tokenizer, "Metaspace")?.as_object_mut()?;
    let stated = metaspace.insert("prepend_scheme".into(), "never".into());
    let old = metaspace.remove("add_prefix_space");
    let scheme = match (&stated, old) {
        (Some(scheme), _) => scheme.as_str()?,
        (None, Some(Value::Bool(false))) => "never",
        (None, _) => "always",
    };
    (scheme != "never").then_some(Prefix { everywhere: scheme == "always", unless_spaced: true })
}

fn part<T: DeserializeOwned>(value: Value, name: &str) -> Result<Option<T>> {
    serde_json::from_value(value).map_err(|e| damaged(format!("its {name} cannot be used: {e}")))
}

/// Lists of parts inside a part.
const NESTED: [&str; 4] = ["decoders", "processors", "normalizers", "pretokenizers"];

/// The part with this `type`, wherever it is nested in sequences.
fn find<'v>(part: &'v Value, kind: &str) -> Option<&'v Value> {
    if part.get("type").and_then(Value::as_str) == Some(kind) {
        return Some(part);
    }
    let lists = NESTED.into_iter().filter_map(|name| part.get(name)?.as_array());
    lists.flatten().find_map(|part| find(part, kind))
}

fn find_mut<'v>(part: &'v mut Value, kind: &str) -> Option<&'v mut Value> {
    if part.get("type").and_then(Value::as_str) == Some(kind) {
        return Some(part);
    }
    let parts = part.as_object_mut()?.iter_mut().filter(|(name, _)| NESTED.contains(&name.as_str()));
    parts.filter_map(|(_, list)| list.as_array_mut()).flatten().find_map(|part| find_mut(part, kind))
}

/// The special token that a post-processor puts before a text.
fn first_token(post_processor: &Value) -> Option<&str> {
    let template = find(post_processor, "TemplateProcessing")?;
    template.get("single")?.get(0)?.get("SpecialToken")?.get("id")?.as_str()
}
