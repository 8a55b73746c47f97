//! A small byte-level vocabulary for tests.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::alphabet::byte_of;
use super::{ChatTemplate, GgufVocab, Tokenizer};

const SPECIALS: [(&str, i32); 4] = [("<|endoftext|>", 3), ("<|im_start|>", 3), ("<|im_end|>", 3), ("<tool>", 4)];
const MERGES: &[&str] = &[
    "h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ċ Ċ", "u s", "e r", "us er", "s y", "s t", "sy st", "e m",
    "syst em", "Ġ Ġ", "Ġ t", "Ġt he", ". Ċ", "Ð ¾",
];

/// Size of the vocabulary.
pub(crate) const VOCAB: u32 = 4 + 256 + MERGES.len() as u32;

/// The alphabet, four special tokens (0: end of text, 1, 2: turns, 3: user-defined), a few merges.
pub(crate) fn vocab(pre: &str) -> GgufVocab {
    let mut tokens: Vec<String> = SPECIALS.iter().map(|(text, _)| (*text).into()).collect();
    let mut token_types: Vec<i32> = SPECIALS.iter().map(|(_, kind)| *kind).collect();
    tokens.extend(('\0'..='\u{143}').filter(|&c| byte_of(c).is_some()).map(String::from));
    tokens.extend(MERGES.iter().map(|merge| merge.replace(' ', "")));
    token_types.resize(tokens.len(), 1);
    GgufVocab {
        model: "gpt2".into(),
        pre: pre.into(),
        tokens,
        token_types,
        merges: MERGES.iter().map(|&merge| merge.into()).collect(),
        bos: Some(1),
        eos: Some(2),
        ..GgufVocab::default()
    }
}

pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    static SHARED: LazyLock<Arc<Tokenizer>> =
        LazyLock::new(|| Arc::new(Tokenizer::from_gguf(vocab("smollm")).unwrap()));
    Arc::clone(&SHARED)
}

/// The token of one byte.
pub(crate) fn byte_token(tokenizer: &Tokenizer, byte: u8) -> u32 {
    (0..VOCAB).find(|&id| tokenizer.token_bytes(id) == [byte]).unwrap()
}

/// ChatML with a system message of its own, as SmolLM2 has it.
pub(crate) const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nhello world<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

pub(crate) fn chatml() -> ChatTemplate {
    ChatTemplate::new(CHATML, "<|im_start|>", "<|im_end|>").unwrap()
}

/// Text with everything that offsets get wrong.
pub(crate) fn unicode() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "\r\n",
            "\n\n",
            "\0",
            "\u{FEFF}",
            "e\u{301}",
            "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}",
            "\u{1F40B}\u{1F3FD}",
            "<|im_end|>",
            "<|im_start|>",
            "<|im_",
            "end|>",
            "<tool>",
            "hello",
            " world",
            " the",
            "   ",
            "1234",
            "鯨",
            "\u{AC00}",
            "'ll",
            ".",
        ])
        .prop_map(String::from),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}
