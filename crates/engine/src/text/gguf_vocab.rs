use serde_json::{Map, Value, json};
use skimlm_core::{Code, Error, Result};
use skimlm_models::weights::gguf::Gguf;

use super::bpe::{self, damaged};
use super::pre::Pre;
use super::special::SpecialToken;
use super::tokenizer::{Parts, Tokenizer};

/// GGUF's numbers for kinds of tokens.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

/// What a GGUF file says of its tokenizer (`tokenizer.ggml.*`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GgufVocab {
    /// `model`; `gpt2` means byte-level BPE.
    pub model: String,
    /// `pre`, the name of the pre-tokenizer.
    pub pre: String,
    /// The entries, by id, written in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// One kind an entry; empty: all are normal.
    pub token_types: Vec<i32>,
    /// `left right`, best first.
    pub merges: Vec<String>,
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
            model: text("model")?,
            pre: gguf.get_str(&key("pre"))?.unwrap_or("default").to_owned(),
            tokens: list("tokens")?,
            token_types: types.into_iter().map(|t| i32::try_from(t).unwrap_or(0)).collect(),
            merges: list("merges")?,
            bos: gguf.get_u32(&key("bos_token_id"))?,
            eos: gguf.get_u32(&key("eos_token_id"))?,
            ends: ends.into_iter().flatten().collect(),
            add_bos: gguf.get_bool(&key("add_bos_token"))?,
        })
    }
}

impl GgufVocab {
    /// The same as a `tokenizer.json`, for checkpoints made from the file. `ERR_TOKENIZER` for an unknown
    /// pre-tokenizer.
    pub fn to_json(&self) -> Result<Value> {
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
    /// Control and user-defined tokens are special. `ERR_TOKENIZER`: not byte-level BPE, an
    /// unknown pre-tokenizer, or lists that do not fit each other.
    pub fn from_gguf(vocab: GgufVocab) -> Result<Self> {
        let GgufVocab { model, pre, tokens, token_types, merges, bos, eos, ends, add_bos } = vocab;
        if tokens.is_empty() {
            let message = "The file carries no tokenizer; name a tokenizer.json with the option `tokenizer`.";
            return Err(Error::new(Code::Tokenizer, message));
        }
        if model != "gpt2" {
            return Err(Error::new(
                Code::Tokenizer,
                format!("The tokenizer model `{model}` is not supported; supported is gpt2 (byte-level BPE)."),
            )
            .with("model", model)
            .with("supported", vec!["gpt2"]));
        }
        let pre = Pre::named(&pre)?;
        if !token_types.is_empty() && token_types.len() != tokens.len() {
            return Err(damaged(format!("{} tokens have {} kinds", tokens.len(), token_types.len())));
        }
        let specials = tokens
            .iter()
            .zip(&token_types)
            .zip(0..)
            .filter(|((_, kind), _)| matches!(**kind, CONTROL | USER_DEFINED))
            .map(|((text, &kind), id)| SpecialToken {
                id,
                text: text.clone(),
                control: kind == CONTROL,
                lstrip: false,
                rstrip: false,
            })
            .collect();
        let merges = merges.iter().map(|line| bpe::merge(line)).collect::<Result<_>>()?;
        Self::from_parts(Parts {
            entries: tokens.into_iter().zip(0..).collect(),
            merges,
            ignore_merges: pre.ignore_merges,
            normalizer: pre.normalizer,
            split: Some(pre.split),
            specials,
            bos,
            ends: eos.into_iter().chain(ends).collect(),
            add_bos: add_bos.unwrap_or(pre.add_bos),
            padded_rows: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Declared;

    #[test]
    fn as_json_it_is_the_same_tokenizer() {
        let texts = ["a", "b", "\u{120}", "ab", "\u{120}ab", "<|im_end|>", "1", "2"];
        for pre in crate::text::PRE_TOKENIZERS {
            let vocab = GgufVocab {
                model: "gpt2".into(),
                pre: pre.into(),
                tokens: texts.map(String::from).to_vec(),
                token_types: vec![1, 1, 1, 1, 1, CONTROL, 1, 1],
                merges: vec!["a b".into(), "\u{120} ab".into()],
                bos: Some(5),
                eos: Some(5),
                add_bos: Some(false),
                ..GgufVocab::default()
            };
            let json = vocab.to_json().unwrap().to_string();
            let other = Tokenizer::from_json(json.as_bytes(), Declared::from(&vocab)).unwrap();
            let one = Tokenizer::from_gguf(vocab).unwrap();
            for special in [false, true] {
                let ids = |tokenizer: &Tokenizer| tokenizer.encode("ab ab 12<|im_end|>b", special).unwrap();
                assert_eq!(ids(&one), ids(&other), "{pre}");
            }
            assert_eq!(one.end_tokens(), other.end_tokens());
        }
    }
}
