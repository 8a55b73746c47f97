//! The tokenizer of the small task: every word is one token.

use serde_json::{Map, Value, json};

/// Ends an answer.
pub const END: u32 = 0;
/// Begins a text.
pub const BOS: u32 = 1;
/// The anchor `<AC>`.
pub const AC: u32 = 2;
/// The word `?` that begins a question.
pub const ASK: u32 = 3;
/// Number of keys: `k0`, `k1`, ...
pub const KEYS: usize = 32;
/// Number of values: `v0`, `v1`, ...
pub const VALUES: usize = 32;
/// Number of filler words: `f0`, `f1`, ...
pub const FILLERS: usize = 64;

const FIRST_WORD: usize = 4;

/// The vocabulary. Bytes come last, so that any text can be read.
#[derive(Debug)]
pub struct Words;

impl Words {
    /// The token of a key.
    pub fn key(i: usize) -> u32 {
        (FIRST_WORD + i) as u32
    }

    /// The token of a value.
    pub fn value(i: usize) -> u32 {
        (FIRST_WORD + KEYS + i) as u32
    }

    /// The token of a filler word.
    pub fn filler(i: usize) -> u32 {
        (FIRST_WORD + KEYS + VALUES + i) as u32
    }

    /// Number of tokens.
    pub fn count() -> usize {
        FIRST_WORD + KEYS + VALUES + FILLERS + 255
    }

    /// All tokens by id, in the spelling of byte-level BPE.
    fn spellings() -> Vec<String> {
        let special = ["<|end|>", "<s>", "<AC>", "?"].map(String::from);
        let words = [("k", KEYS), ("v", VALUES), ("f", FILLERS)];
        let words = words.into_iter().flat_map(|(letter, count)| (0..count).map(move |i| format!("{letter}{i}")));
        // The word `?` is the byte of that name.
        special.into_iter().chain(words).chain((0..=255).map(byte).filter(|byte| byte != "?")).collect()
    }

    /// The `tokenizer.json`: words are cut at white space and taken whole.
    pub fn tokenizer() -> Value {
        let all = Self::spellings();
        let vocab: Map<String, Value> = all.iter().cloned().zip((0u32..).map(Value::from)).collect();
        let special = |id: u32| json!({ "id": id, "content": all[id as usize], "special": true });
        let byte_level =
            json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
        json!({
            "version": "1.0",
            "added_tokens": [special(END), special(BOS)],
            "normalizer": null,
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, byte_level] },
            "post_processor": null,
            "decoder": byte_level,
            "model": { "type": "BPE", "ignore_merges": true, "vocab": vocab, "merges": [] },
        })
    }

    /// The `tokenizer_config.json`. There is no chat template: a question stands right behind its text.
    pub fn settings() -> Value {
        json!({ "bos_token": "<s>", "eos_token": "<|end|>", "add_bos_token": true })
    }
}

/// How byte-level BPE writes a byte: printable ones as themselves, the others from U+0100 on.
fn byte(byte: u32) -> String {
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = if printable(byte) { byte } else { 0x100 + (0..byte).filter(|&b| !printable(b)).count() as u32 };
    char::from_u32(code).unwrap_or('?').to_string()
}

#[cfg(test)]
mod tests {
    use skimlm_engine::text::{Declared, Tokenizer};

    use super::*;

    #[test]
    fn words_are_tokens_and_other_text_is_bytes() {
        let json = Words::tokenizer().to_string();
        let declared = Declared { bos: Some(BOS), ends: vec![END], add_bos: Some(true) };
        let tokenizer = Tokenizer::from_json(json.as_bytes(), declared).unwrap();
        assert_eq!(tokenizer.vocab_size(), Words::count());
        let ids = tokenizer.encode("k0 v31\n f63 <AC>\n\n? k31", false).unwrap();
        assert_eq!(ids, [Words::key(0), Words::value(31), Words::filler(63), AC, ASK, Words::key(31)]);
        assert_eq!(tokenizer.decode(&[Words::value(7), END], true).unwrap(), "v7");
        let text = "h\u{e9}";
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, false).unwrap(), true).unwrap(), text);
    }
}
