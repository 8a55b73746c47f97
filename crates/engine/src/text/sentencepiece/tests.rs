//! Against ids recorded from sentencepiece and tokenizers (`scripts/reference/sentencepiece_ids.py`).

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use skimlm_core::Code;
use skimlm_models::weights::gguf::Gguf;
use skimlm_models::weights::gguf::write::{Meta, gguf_bytes};

use super::super::{Declared, DecodeStream, GgufVocab, Tokenizer, testing};
use super::*;

#[derive(Deserialize)]
struct Recorded {
    llama: Vocabulary,
    gemma: Vocabulary,
}

#[derive(Deserialize)]
struct Vocabulary {
    pieces: Vec<String>,
    scores: Vec<f32>,
    kinds: Vec<i32>,
    cases: Vec<Case>,
    #[serde(default)]
    json: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    #[serde(default)]
    decoded: Option<String>,
}

static RECORDED: LazyLock<Recorded> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../tests/data/sentencepiece.json")).unwrap());

impl Vocabulary {
    /// The vocabulary as a GGUF file carries it.
    fn gguf(&self, more: &[(&str, Meta)]) -> GgufVocab {
        let floats = |values: &[f32]| {
            let mut raw = 6u32.to_le_bytes().to_vec();
            raw.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| raw.extend(value.to_le_bytes()));
            Meta::Raw(9, raw)
        };
        let mut metadata = vec![
            ("tokenizer.ggml.model".to_owned(), Meta::Text("llama".into())),
            ("tokenizer.ggml.tokens".into(), Meta::Texts(self.pieces.clone())),
            ("tokenizer.ggml.scores".into(), floats(&self.scores)),
            ("tokenizer.ggml.token_type".into(), Meta::I32s(self.kinds.clone())),
            ("tokenizer.ggml.unknown_token_id".into(), Meta::U32(0)),
            ("tokenizer.ggml.bos_token_id".into(), Meta::U32(1)),
            ("tokenizer.ggml.eos_token_id".into(), Meta::U32(2)),
        ];
        metadata.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        GgufVocab::read(&Gguf::from_bytes(Arc::new(gguf_bytes(&metadata, &[]))).unwrap()).unwrap()
    }
}

fn llama() -> Arc<Tokenizer> {
    static SHARED: LazyLock<Arc<Tokenizer>> =
        LazyLock::new(|| Arc::new(Tokenizer::from_gguf(RECORDED.llama.gguf(&[])).unwrap()));
    Arc::clone(&SHARED)
}

fn gemma() -> Arc<Tokenizer> {
    static SHARED: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
        let unprefixed = ("tokenizer.ggml.add_space_prefix", Meta::Bool(false));
        Arc::new(Tokenizer::from_gguf(RECORDED.gemma.gguf(&[unprefixed])).unwrap())
    });
    Arc::clone(&SHARED)
}

#[test]
fn texts_have_the_ids_of_sentencepiece() {
    for (tokenizer, vocabulary) in [(llama(), &RECORDED.llama), (gemma(), &RECORDED.gemma)] {
        assert!(vocabulary.cases.len() > 30);
        for Case { text, ids, decoded } in &vocabulary.cases {
            assert_eq!(&tokenizer.encode(text, false).unwrap(), ids, "{text:?}");
            assert_eq!(&tokenizer.encode_with_offsets(text).unwrap().0, ids, "{text:?}");
            assert_eq!(Some(tokenizer.decode(ids, false).unwrap()), *decoded, "{text:?}");
        }
        assert_eq!((tokenizer.leading_bos(), tokenizer.end_tokens()[0]), (Some(1), 2));
    }
}

#[test]
fn user_defined_spaces_may_be_written_as_spaces() {
    let mut vocab = RECORDED.gemma.gguf(&[]);
    let kinds = vocab.token_types.clone();
    vocab
        .tokens
        .iter_mut()
        .zip(kinds)
        .filter(|(_, kind)| *kind == 4)
        .for_each(|(text, _)| *text = text.replace(SPACE, " "));
    assert!(vocab.tokens.contains(&"   ".to_owned()));
    vocab.add_space_prefix = Some(false);
    let tokenizer = Tokenizer::from_gguf(vocab).unwrap();
    for case in &RECORDED.gemma.cases {
        assert_eq!(tokenizer.encode(&case.text, false).unwrap(), case.ids, "{:?}", case.text);
    }
}

#[test]
fn added_white_space_is_text_unless_it_is_special_or_written_in_bytes() {
    for (decoder, added, special, ids) in [
        ("ByteFallback", "\u{2581}\u{2581}", false, &[0, 2, 2, 0][..]),
        ("ByteFallback", "\u{2581}\u{2581}", true, &[0, 3, 0]),
        ("ByteFallback", "bb", false, &[0, 3, 0]),
        ("ByteLevel", "\u{2581}\u{2581}", false, &[0, 3, 0]),
    ] {
        let json = json!({
            "added_tokens": [{ "id": 3, "content": added, "special": special }],
            "decoder": { "type": decoder },
            "model": { "type": "BPE", "vocab": { "a": 0, "b": 1, "\u{2581}": 2 } },
        });
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes(), Declared::default()).unwrap();
        assert_eq!(tokenizer.encode(&format!("a{added}a"), true).unwrap(), ids, "{decoder}: {added:?}, {special}");
    }
}

/// The tokenizer.json of the `llama` vocabulary in one of its forms.
fn form(name: &str) -> (Tokenizer, Vec<Case>) {
    let vocabulary = &RECORDED.llama;
    let form = &vocabulary.json[name];
    let ids: serde_json::Map<_, _> = vocabulary.pieces.iter().cloned().zip((0..).map(Value::from)).collect();
    let normal =
        vocabulary.pieces.iter().zip(&vocabulary.scores).zip(&vocabulary.kinds).filter(|(_, kind)| **kind == 1);
    let pieces: Vec<(&str, f32)> = normal.map(|((piece, score), _)| (&**piece, *score)).collect();
    let added: Vec<Value> = [(0, "<unk>"), (1, "<s>"), (2, "</s>"), (500, "<|user|>"), (501, "<|end|>")]
        .map(|(id, text)| json!({ "id": id, "content": text, "special": true, "rstrip": text == "<|end|>" }))
        .into();
    let json = json!({
        "added_tokens": added,
        "normalizer": form["normalizer"], "pre_tokenizer": form["pre_tokenizer"], "decoder": form["decoder"],
        "model": {
            "type": "BPE", "vocab": ids, "merges": merges(&pieces), "byte_fallback": true, "unk_token": "<unk>",
            "fuse_unk": true,
        },
    });
    let declared = Declared { bos: Some(1), ends: vec![2], add_bos: Some(true) };
    let tokenizer = Tokenizer::from_json(json.to_string().as_bytes(), declared).unwrap();
    (tokenizer, serde_json::from_value(form["cases"].clone()).unwrap())
}

#[test]
fn every_form_of_tokenizer_json_has_the_ids_of_the_tokenizers_package() {
    for name in ["prepend", "metaspace_first", "metaspace_always", "plain"] {
        let (tokenizer, cases) = form(name);
        assert!(cases.iter().any(|case| case.text.contains("<|end|>")));
        for Case { text, ids, .. } in cases {
            assert_eq!(tokenizer.encode(&text, true).unwrap(), ids, "{name}: {text:?}");
        }
    }
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(text in testing::unicode(), special in any::<bool>()) {
        // U+2581 is how the vocabulary writes a space.
        let text = text.replace(SPACE, "_");
        for tokenizer in [llama(), gemma(), Arc::new(form("prepend").0)] {
            let ids = tokenizer.encode(&text, special).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), &*text);
            let mut stream = DecodeStream::new(Arc::clone(&tokenizer), false);
            let mut parts: Vec<String> = ids.iter().filter_map(|&id| stream.push(id)).collect();
            parts.extend(stream.finish());
            prop_assert_eq!(parts.concat(), &*text);
        }
    }

    #[test]
    fn offsets_cover_the_text_and_hold_whole_characters(text in testing::unicode()) {
        let units: Vec<u16> = text.encode_utf16().collect();
        for tokenizer in [llama(), gemma()] {
            let (ids, offsets) = tokenizer.encode_with_offsets(&text).unwrap();
            prop_assert_eq!(&ids, &tokenizer.encode(&text, false).unwrap());
            let mut covered = 0;
            for (&id, &(start, end)) in ids.iter().zip(&offsets) {
                let slice = String::from_utf16(&units[start as usize..end as usize]).unwrap();
                prop_assert!(start <= covered && end >= covered, "{start}..{end} behind {covered}");
                covered = end;
                let bytes = tokenizer.token_bytes(id);
                let own = bytes.strip_prefix(b" ").filter(|_| start == 0).unwrap_or(bytes);
                let slice = slice.replace(SPACE, " ");
                prop_assert!(own.is_empty() || slice.as_bytes().windows(own.len()).any(|window| window == own));
            }
            prop_assert_eq!(covered as usize, units.len());
        }
    }
}

#[test]
fn a_character_of_several_bytes_streams_whole_and_one_leading_space_is_left_out() {
    let tokenizer = llama();
    let ids = tokenizer.encode("hello \u{1F40B}", false).unwrap();
    let push = |mut stream: DecodeStream| {
        let mut parts: Vec<_> = ids.iter().map(|&id| stream.push(id)).collect();
        parts.push(stream.finish());
        parts
    };
    let parts = push(DecodeStream::new(Arc::clone(&tokenizer), true));
    assert!(parts.iter().flatten().all(|part| !part.contains('\u{FFFD}')));
    assert_eq!(parts.iter().flatten().cloned().collect::<String>(), "hello \u{1F40B}");
    assert_eq!(parts[parts.len() - 5..], [None, None, None, Some("\u{1F40B}".into()), None]);
    let parts = push(DecodeStream::new(Arc::clone(&tokenizer), true).going_on());
    assert_eq!(parts.into_iter().flatten().collect::<String>(), " hello \u{1F40B}");
    assert_eq!(tokenizer.decode(&tokenizer.encode("  two", false).unwrap(), false).unwrap(), "  two");
}

#[test]
fn text_never_becomes_control_tokens() {
    for (tokenizer, text) in [(llama(), "<s></s><unk><0x0A>"), (gemma(), "<start_of_turn><s>")] {
        let ids = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text, "a control token would be left out");
    }
    assert_eq!(gemma().encode("<start_of_turn>\n\n", true).unwrap(), [3, 6]);
}

#[test]
fn phi3_swallows_white_space_behind_its_special_tokens() {
    let tokenizer = |architecture: &str| {
        let architecture = ("general.architecture", Meta::Text(architecture.into()));
        Tokenizer::from_gguf(RECORDED.llama.gguf(&[architecture])).unwrap()
    };
    let ids = |architecture: &str, text: &str| tokenizer(architecture).encode(text, true).unwrap();
    assert_eq!(ids("phi3", "</s>\n the"), ids("llama", "</s>the"));
    assert_eq!(ids("phi3", "<s>\n the"), ids("llama", "<s>\n the"));
    assert_ne!(ids("llama", "</s>\n the"), ids("llama", "</s>the"));
}

#[test]
fn what_cannot_be_built_is_refused() {
    let refused = |change: &dyn Fn(&mut GgufVocab)| {
        let mut vocab = RECORDED.llama.gguf(&[]);
        change(&mut vocab);
        let error = Tokenizer::from_gguf(vocab).unwrap_err();
        assert_eq!(error.code, Code::Tokenizer, "{error}");
        error.message
    };
    assert!(refused(&|vocab| vocab.scores.truncate(499)).contains("500 tokens have 499 scores"));
    assert!(refused(&|vocab| vocab.model = "bert".into()).contains("`bert`"));
    let without = refused(&|vocab| {
        vocab.tokens[3 + 10] = "<gone>".into();
        vocab.unknown = None;
    });
    assert!(without.contains("neither for all bytes"), "{without}");
    // Without a byte of its own a character is the unknown token, and several in a row are one.
    let mut vocab = RECORDED.llama.gguf(&[]);
    vocab.tokens[3 + 10] = "<gone>".into();
    let ids = Tokenizer::from_gguf(vocab).unwrap().encode("\u{9BE8}\u{9BE8}", false).unwrap();
    assert_eq!(ids[ids.len() - 1..], [0]);
}

#[test]
fn a_long_text_is_joined_in_reasonable_time() {
    for text in ["the layer reads the cache. ".repeat(40_000), " ".repeat(1 << 18), "x".repeat(1 << 18)] {
        let tokenizer = llama();
        let (ids, offsets) = tokenizer.encode_with_offsets(&text).unwrap();
        assert_eq!(offsets.last().unwrap().1 as usize, text.len());
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}
