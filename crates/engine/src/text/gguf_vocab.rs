use serde_json::{Map, Value, json};
use skimlm_core::{Code, Error, Result};
use skimlm_models::weights::gguf::Gguf;

use super::alphabet::{SPACE, Writing, byte_piece};
use super::bpe::{self, Habits, damaged};
use super::pre::Pre;
use super::sentencepiece::{self, Prefix};
use super::special::SpecialToken;
use super::tokenizer::{Parts, Tokenizer};

/// GGUF's numbers for kinds of tokens.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// The pre-tokenizer of files that name none.
const DEFAULT_PRE: &str = "default";
/// The tokenizers that can be built, by GGUF's names.
const MODELS: [&str; 2] = ["gpt2", "llama"];

/// What a GGUF file says of its tokenizer (`tokenizer.ggml.*`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocab {
    /// The file's `general.architecture`.
    pub architecture: String,
    /// `model`; `gpt2` means byte-level BPE, `llama` SentencePiece.
    pub model: String,
    /// `pre`, the name of the pre-tokenizer of byte-level BPE.
    pub pre: String,
    /// The entries, by id, as the model writes them.
    pub tokens: Vec<String>,
    /// One kind an entry; empty: all are normal.
    pub token_types: Vec<i32>,
    /// `left right`, best first; byte-level BPE only.
    pub merges: Vec<String>,
    /// One score an entry; SentencePiece only.
    pub scores: Vec<f32>,
    /// Whether a space is put before a text; none: it is. SentencePiece only.
    pub add_space_prefix: Option<bool>,
    /// The token of an unknown character; SentencePiece only.
    pub unknown: Option<u32>,
    /// The token that texts begin with.
    pub bos: Option<u32>,
    /// The token that ends an answer.
    pub eos: Option<u32>,
    /// Further tokens that end an answer (`eot_token_id`, `eom_token_id`).
    pub ends: Vec<u32>,
    /// Whether raw text begins with `bos`; none: as the pre-tokenizer's family does.
    pub add_bos: Option<bool>,
}

impl GgufVocab {
    /// Reads the keys `tokenizer.ggml.*` of a file; a file without a tokenizer gives empty lists.
    /// `ERR_MODEL_CORRUPT` if a value is of another type than it must be.
    pub fn read(gguf: &Gguf) -> Result<Self> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let text = |name: &str| Ok::<_, Error>(gguf.get_str(&key(name))?.unwrap_or_default().to_owned());
        let list = |name: &str| {
            let texts = gguf.strings(&key(name))?.unwrap_or_default();
            Ok::<Vec<String>, Error>(texts.into_iter().map(str::to_owned).collect())
        };
        let types = gguf.integers(&key("token_type"))?.unwrap_or_default();
        let ends = [gguf.get_u32(&key("eot_token_id"))?, gguf.get_u32(&key("eom_token_id"))?];
        Ok(Self {
            architecture: gguf.get_str("general.architecture")?.unwrap_or_default().to_owned(),
            model: text("model")?,
            pre: gguf.get_str(&key("pre"))?.unwrap_or(DEFAULT_PRE).to_owned(),
            tokens: list("tokens")?,
            token_types: types.into_iter().map(|t| i32::try_from(t).unwrap_or(0)).collect(),
            merges: list("merges")?,
            scores: gguf.floats(&key("scores"))?.unwrap_or_default(),
            add_space_prefix: gguf.get_bool(&key("add_space_prefix"))?,
            unknown: gguf.get_u32(&key("unknown_token_id"))?,
            bos: gguf.get_u32(&key("bos_token_id"))?,
            eos: gguf.get_u32(&key("eos_token_id"))?,
            ends: ends.into_iter().flatten().collect(),
            add_bos: gguf.get_bool(&key("add_bos_token"))?,
        })
    }
}

impl GgufVocab {
    /// The same as a `tokenizer.json`, for checkpoints made from the file. `ERR_TOKENIZER` for an unknown
    /// pre-tokenizer and for SentencePiece, whose models carry a file of their own.
    pub fn to_json(&self) -> Result<Value> {
        if self.model != "gpt2" {
            let message =
                format!("A `{}` vocabulary is not written as tokenizer.json; give the model's own.", self.model);
            return Err(Error::new(Code::Tokenizer, message).with("model", self.model.as_str()));
        }
        let Pre { normalizer, split, ignore_merges, .. } = Pre::named(&self.pre)?;
        let of = |id: usize| self.token_types.get(id).copied().unwrap_or_default();
        let added: Vec<Value> = (self.tokens.iter().enumerate())
            .filter(|(id, _)| matches!(of(*id), CONTROL | USER_DEFINED))
            .map(|(id, text)| json!({ "id": id, "content": text, "special": of(id) == CONTROL }))
            .collect();
        let vocab: Map<String, Value> = self.tokens.iter().cloned().zip((0u32..).map(Value::from)).collect();
        Ok(json!({
            "version": "1.0", "added_tokens": added, "normalizer": normalizer, "pre_tokenizer": split,
            "post_processor": null, "decoder": { "type": "ByteLevel" },
            "model": { "type": "BPE", "ignore_merges": ignore_merges, "vocab": vocab, "merges": self.merges },
        }))
    }
}

impl Tokenizer {
    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// Control and user-defined tokens are special, except that SentencePiece's user-defined runs of
    /// white space are text. `ERR_TOKENIZER`: another model than byte-level BPE and SentencePiece, an
    /// unknown pre-tokenizer, or lists that do not fit each other.
    pub fn from_gguf(vocab: GgufVocab) -> Result<Self> {
        if vocab.tokens.is_empty() {
            return Err(missing());
        }
        if !vocab.token_types.is_empty() && vocab.token_types.len() != vocab.tokens.len() {
            return Err(damaged(format!("{} tokens have {} kinds", vocab.tokens.len(), vocab.token_types.len())));
        }
        check_kind(&vocab.model, &vocab.pre)?;
        Self::from_parts(if vocab.model == "llama" { vocab.sentencepiece()? } else { vocab.byte_level()? })
    }
}

/// Refuses what cannot be built by its names alone.
fn check_kind(model: &str, pre: &str) -> Result<()> {
    match model {
        "gpt2" => Pre::check(pre),
        "llama" => Ok(()),
        _ => Err(Error::new(
            Code::Tokenizer,
            format!(
                "The tokenizer model `{model}` is not supported; supported are gpt2 (byte-level BPE) and llama \
                 (SentencePiece). Give the model's tokenizer.json with the option `tokenizer`."
            ),
        )
        .with("model", model)
        .with("supported", MODELS.to_vec())),
    }
}

/// Why the tokenizer of a file cannot be built, as far as its names tell.
pub(super) fn refusal(gguf: &Gguf) -> Result<()> {
    if gguf.get_array("tokenizer.ggml.tokens")?.is_none_or(|tokens| tokens.is_empty()) {
        return Err(missing());
    }
    let model = gguf.get_str("tokenizer.ggml.model")?.unwrap_or_default();
    check_kind(model, gguf.get_str("tokenizer.ggml.pre")?.unwrap_or(DEFAULT_PRE))
}

fn missing() -> Error {
    Error::new(Code::Tokenizer, "The file carries no tokenizer; name a tokenizer.json with the option `tokenizer`.")
}

impl GgufVocab {
    fn byte_level(self) -> Result<Parts> {
        let pre = Pre::named(&self.pre)?;
        Ok(Parts {
            writing: Writing::ByteLevel,
            merges: self.merges.iter().map(|line| bpe::merge(line)).collect::<Result<_>>()?,
            habits: Habits { ignore_merges: pre.ignore_merges, ..Habits::default() },
            prefix: None,
            normalizer: pre.normalizer,
            split: Some(pre.split),
            specials: self.specials(|_| false),
            bos: self.bos,
            ends: self.ends(),
            add_bos: self.add_bos.unwrap_or(pre.add_bos),
            padded_rows: 0,
            most_ids: self.tokens.len(),
            entries: self.tokens.into_iter().zip(0..).collect(),
        })
    }

    fn sentencepiece(mut self) -> Result<Parts> {
        if self.scores.len() != self.tokens.len() {
            return Err(damaged(format!("{} tokens have {} scores", self.tokens.len(), self.scores.len())));
        }
        // Converters write the spaces of user-defined pieces as spaces.
        for (text, _) in self.tokens.iter_mut().zip(&self.token_types).filter(|(_, kind)| **kind == USER_DEFINED) {
            if is_blank(text) {
                *text = text.replace(' ', SPACE.encode_utf8(&mut [0; 4]));
            }
        }
        let kind = |id: usize| self.token_types.get(id).copied().unwrap_or(NORMAL);
        // What is no text of its own must not come out of a merge.
        let pieces: Vec<(&str, f32)> = self
            .tokens
            .iter()
            .zip(&self.scores)
            .enumerate()
            .filter(|(id, (text, _))| match kind(*id) {
                NORMAL => byte_piece(text).is_none(),
                USER_DEFINED => is_blank(text),
                _ => false,
            })
            .map(|(_, (text, score))| (&**text, *score))
            .collect();
        let merges = sentencepiece::merges(&pieces);
        let mut bytes = [false; 256];
        self.tokens.iter().filter_map(|text| byte_piece(text)).for_each(|byte| bytes[usize::from(byte)] = true);
        let byte_fallback = bytes.iter().all(|&there| there);
        let unknown = self.unknown.and_then(|id| self.tokens.get(id as usize)).cloned();
        if !byte_fallback && unknown.is_none() {
            return Err(damaged("it has tokens neither for all bytes nor for what is unknown"));
        }
        let everywhere = Prefix { everywhere: true, unless_spaced: false };
        Ok(Parts {
            writing: Writing::SentencePiece,
            merges,
            habits: Habits { byte_fallback, unknown, fuse_unknown: true, ..Habits::default() },
            prefix: Some(everywhere).filter(|_| self.add_space_prefix.unwrap_or(true)),
            normalizer: Some(sentencepiece::normalizer()?),
            split: None,
            specials: self.specials(is_blank),
            bos: self.bos,
            ends: self.ends(),
            add_bos: self.add_bos.unwrap_or(true),
            padded_rows: 0,
            most_ids: self.tokens.len(),
            entries: self.tokens.into_iter().zip(0..).collect(),
        })
    }

    /// The special tokens but the user-defined ones that are `text` all the same.
    fn specials(&self, text: impl Fn(&str) -> bool) -> Vec<SpecialToken> {
        // Phi 3 swallows the white space behind its special tokens, which its files do not state.
        let phi3 = self.model == "llama" && self.architecture == "phi3";
        let keeps = ["<unk>", "<s>", "<|endoftext|>"];
        let all = self.tokens.iter().zip(&self.token_types).zip(0..);
        all.filter(|((token, kind), _)| **kind == CONTROL || **kind == USER_DEFINED && !text(token))
            .map(|((token, &kind), id)| SpecialToken {
                id,
                text: token.clone(),
                control: kind == CONTROL,
                lstrip: false,
                rstrip: phi3 && !keeps.contains(&&**token),
            })
            .collect()
    }

    /// The tokens that end an answer.
    pub(super) fn ends(&self) -> Vec<u32> {
        self.eos.into_iter().chain(self.ends.iter().copied()).collect()
    }
}

/// Nothing but white space, in either way of writing it.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c == SPACE || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Declared;

    #[test]
    fn as_json_it_is_the_same_tokenizer() {
        // No merge leads to the last: it is found only where whole entries come first.
        let texts = ["a", "b", "\u{120}", "ab", "\u{120}ab", "<|im_end|>", "1", "2", "12"];
        for pre in crate::text::pre_tokenizers() {
            let vocab = GgufVocab {
                model: "gpt2".into(),
                pre: pre.into(),
                tokens: texts.map(String::from).to_vec(),
                token_types: vec![1, 1, 1, 1, 1, CONTROL, 1, 1, 1],
                merges: vec!["a b".into(), "\u{120} ab".into()],
                bos: Some(3),
                eos: Some(1),
                ends: vec![0],
                add_bos: Some(true),
                ..GgufVocab::default()
            };
            let json = vocab.to_json().unwrap().to_string();
            let other = Tokenizer::from_json(json.as_bytes(), Declared::from(&vocab)).unwrap();
            let one = Tokenizer::from_gguf(vocab).unwrap();
            for special in [false, true] {
                let ids = |tokenizer: &Tokenizer| tokenizer.encode("ab ab 12<|im_end|>b", special).unwrap();
                assert_eq!(ids(&one), ids(&other), "{pre}");
            }
            for tokenizer in [one, other] {
                assert_eq!((tokenizer.leading_bos(), tokenizer.end_tokens()), (Some(3), &[1, 0, 5][..]), "{pre}");
            }
        }
    }
}
