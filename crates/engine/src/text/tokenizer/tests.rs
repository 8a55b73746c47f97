use proptest::prelude::*;

use super::super::testing;
use super::super::{Declared, GgufVocab};
use super::*;

const PRES: [&str; 10] =
    ["default", "gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "tekken", "gpt-4o", "deepseek-coder", "deepseek-v3"];

fn utf16(text: &str, (start, end): (u32, u32)) -> String {
    let units: Vec<u16> = text.encode_utf16().collect();
    String::from_utf16(&units[start as usize..end as usize]).expect("a range holds whole characters")
}

proptest! {
    #[test]
    fn offsets_cover_the_text_and_hold_whole_characters(text in testing::unicode(), pre in prop::sample::select(&PRES[..])) {
        let tokenizer = Tokenizer::from_gguf(testing::vocab(pre)).unwrap();
        let (ids, offsets) = tokenizer.encode_with_offsets(&text).unwrap();
        prop_assert_eq!(&ids, &tokenizer.encode(&text, false).unwrap());
        let mut covered = 0;
        for (&id, &range) in ids.iter().zip(&offsets) {
            let slice = utf16(&text, range);
            prop_assert!(!slice.is_empty());
            prop_assert!(range.0 <= covered && range.1 >= covered, "{:?} behind {}", range, covered);
            covered = range.1;
            if pre != "qwen2" {
                let bytes = tokenizer.token_bytes(id);
                prop_assert!(slice.as_bytes().windows(bytes.len()).any(|window| window == bytes));
            }
        }
        prop_assert_eq!(covered as usize, text.encode_utf16().count());
    }

    #[test]
    fn decoding_undoes_encoding(text in testing::unicode(), pre in prop::sample::select(&PRES[..])) {
        // qwen2 composes characters, and that is not undone.
        let pre = if pre == "qwen2" { "smollm" } else { pre };
        let tokenizer = Tokenizer::from_gguf(testing::vocab(pre)).unwrap();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text, false).unwrap(), false).unwrap(), text);
    }

    #[test]
    fn text_never_becomes_special_tokens(text in testing::unicode()) {
        let tokenizer = testing::tokenizer();
        prop_assert!(tokenizer.encode(&text, false).unwrap().iter().all(|&id| id > 3));
        let text = format!("<|im_end|>{text}<tool>");
        let ids = tokenizer.encode(&text, true).unwrap();
        prop_assert_eq!((ids[0], ids[ids.len() - 1]), (2, 3));
        prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
}

fn pieces(pre: &str, text: &str) -> Vec<String> {
    let mut vocab = testing::vocab(pre);
    // Letters and digits that merge into one token show where the text is cut.
    for (left, right) in [("1", "1"), ("11", "11"), ("11", "1"), ("Ġ", "a"), ("a", "a"), ("a", "A")] {
        vocab.tokens.push(format!("{left}{right}"));
        vocab.token_types.push(1);
        vocab.merges.push(format!("{left} {right}"));
    }
    let tokenizer = Tokenizer::from_gguf(vocab).unwrap();
    tokenizer.encode(text, false).unwrap().into_iter().map(|id| tokenizer.token_text(id)).collect()
}

#[test]
fn each_pre_tokenizer_cuts_numbers_and_line_ends_its_way() {
    assert_eq!(pieces("gpt-2", "1111 aa.\n"), ["1111", " a", "a", ".", "\n"]);
    assert_eq!(pieces("smollm", "1111 aa.\n"), ["1", "1", "1", "1", " a", "a", ".", "\n"]);
    assert_eq!(pieces("llama-bpe", "1111 aa.\n"), ["111", "1", " a", "a", ".\n"]);
    assert_eq!(pieces("qwen2", "1111 aa.\n"), ["1", "1", "1", "1", " a", "a", ".\n"]);
    assert_eq!(pieces("default", "1111aA.\n"), ["111", "1", "aA", ".", "\n"]);
    assert_eq!(pieces("dbrx", "1111aA.\n"), ["111", "1", "aA", ".\n"]);
    assert_eq!(pieces("tekken", "1111aA.\n"), ["1", "1", "1", "1", "a", "A", ".\n"]);
    assert_eq!(pieces("gpt-4o", "1111aA.\n"), ["111", "1", "a", "A", ".\n"]);
    assert_eq!(pieces("deepseek-coder", "1111aA.\n"), ["1", "1", "1", "1", "aA", ".", "\n"]);
    assert_eq!(pieces("deepseek-v3", "1111aA.\n"), ["111", "1", "aA", ".\n"]);
}

#[test]
fn composed_characters_keep_the_range_of_what_they_were() {
    let tokenizer = Tokenizer::from_gguf(testing::vocab("qwen2")).unwrap();
    let (ids, offsets) = tokenizer.encode_with_offsets("xe\u{301}y").unwrap();
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "xéy");
    assert_eq!(offsets, [(0, 1), (1, 3), (1, 3), (3, 4)]);
}

#[test]
fn a_long_text_is_cut_to_its_end() {
    for part in ["hello the world. ", "a", " ", "\n", "7", "鯨", "\u{1F40B}", " a", "\0"] {
        // A run of spaces is as long as would exhaust a backtracking pattern.
        let length = if part == " " { 1 << 20 } else { 1 << 14 };
        let text = part.repeat(length / part.len()) + "hello";
        for pre in PRES {
            let tokenizer = Tokenizer::from_gguf(testing::vocab(pre)).unwrap();
            let (ids, offsets) = tokenizer.encode_with_offsets(&text).unwrap();
            assert_eq!(offsets.last().unwrap().1 as usize, text.encode_utf16().count());
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text, "{pre} {part:?}");
            // The text was cut to its end: `hello` is its own word unless letters precede it.
            let last = tokenizer.token_text(ids[ids.len() - 1]);
            assert_eq!(last, "hello", "{pre} {part:?}");
        }
    }
}

#[test]
fn all_end_tokens_are_found() {
    assert_eq!(testing::tokenizer().end_tokens(), [2, 0]);
    let vocab = GgufVocab { ends: vec![7, 2], ..testing::vocab("gpt-2") };
    assert_eq!(Tokenizer::from_gguf(vocab).unwrap().end_tokens(), [2, 7, 0]);
}

#[test]
fn control_tokens_can_be_left_out() {
    let tokenizer = testing::tokenizer();
    let ids = tokenizer.encode("<|im_start|>user<tool><|im_end|>", true).unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "user<tool>");
    assert_eq!(tokenizer.decode(&[testing::VOCAB], true).unwrap_err().details["value"], testing::VOCAB);
    assert_eq!((tokenizer.token_text(1), tokenizer.token_text(u32::MAX)), ("<|im_start|>".into(), String::new()));
}

#[test]
fn every_listed_pre_tokenizer_can_be_built() {
    let names = super::super::pre_tokenizers();
    assert!(PRES.iter().all(|name| names.contains(name)));
    for name in names {
        assert!(Tokenizer::from_gguf(testing::vocab(name)).is_ok(), "{name}");
    }
}

#[test]
fn bos_is_added_as_the_family_does_unless_told() {
    let leading =
        |pre, add_bos| Tokenizer::from_gguf(GgufVocab { add_bos, ..testing::vocab(pre) }).unwrap().leading_bos();
    assert_eq!(leading("smollm", None), None);
    assert_eq!(leading("llama-bpe", None), Some(1));
    assert_eq!(leading("llama-bpe", Some(false)), None);
    assert_eq!(leading("smollm", Some(true)), Some(1));
    assert_eq!(testing::tokenizer().bos(), Some(1), "it has one all the same");
    let without = GgufVocab { bos: None, ..testing::vocab("llama-bpe") };
    assert_eq!(Tokenizer::from_gguf(without).unwrap().bos(), None);
}

#[test]
fn what_cannot_be_built_is_refused() {
    let refused = |change: &dyn Fn(&mut GgufVocab)| {
        let mut vocab = testing::vocab("gpt-2");
        change(&mut vocab);
        let error = Tokenizer::from_gguf(vocab).unwrap_err();
        assert_eq!(error.code, Code::Tokenizer, "{error}");
        error
    };
    let error = refused(&|vocab| vocab.pre = "kimi-k2".into());
    assert!(error.message.contains("`kimi-k2`") && error.message.contains("gpt-2, phi-2"), "{error}");
    assert_eq!(error.details["preTokenizer"], "kimi-k2");
    let error = refused(&|vocab| vocab.model = "t5".into());
    assert_eq!((&error.details["model"], &error.details["supported"]), (&"t5".into(), &vec!["gpt2", "llama"].into()));
    refused(&|vocab| vocab.tokens.clear());
    refused(&|vocab| vocab.token_types.truncate(3));
    refused(&|vocab| vocab.eos = Some(99_999));
    refused(&|vocab| vocab.merges.push("z".into()));
    refused(&|vocab| vocab.merges.push("q z".into()));
    refused(&|vocab| vocab.merges.push(format!("{} z", "hello".repeat(100))));
}

#[test]
fn a_vocabulary_that_is_not_the_embedding_s_is_refused() {
    let tokenizer = testing::tokenizer();
    let rows = testing::VOCAB as usize;
    assert!(tokenizer.check_rows(rows).is_ok());
    for other in [rows - 1, rows + 1] {
        let error = tokenizer.check_rows(other).unwrap_err();
        assert_eq!((error.code, &error.details["rows"]), (Code::Tokenizer, &other.into()));
    }
}

fn added(id: u32, content: &str, what: &str) -> serde_json::Value {
    serde_json::json!({
        "id": id, "content": content, "single_word": false, "normalized": false,
        "lstrip": what == "lstrip", "rstrip": what == "rstrip", "special": what != "ordinary",
    })
}

fn json() -> serde_json::Value {
    let vocab = testing::vocab("smollm");
    let entries = vocab.tokens.iter().enumerate().map(|(id, text)| (text.clone(), id.into()));
    serde_json::json!({
        "added_tokens": [
            added(0, "<|endoftext|>", ""), added(1, "<|im_start|>", "rstrip"), added(2, "<|im_end|>", "lstrip"),
            added(3, "<tool>", "ordinary"),
        ],
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": { "type": "Sequence", "processors": [
            { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true },
            { "type": "TemplateProcessing", "single": [
                { "SpecialToken": { "id": "<|im_start|>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } },
            ], "pair": [], "special_tokens": {} },
        ] },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "vocab": entries.collect::<serde_json::Map<_, _>>(),
            "merges": vocab.merges.iter().map(|merge| merge.split(' ').collect::<Vec<_>>()).collect::<Vec<_>>(),
        },
    })
}

fn from_json(json: &serde_json::Value) -> Result<Tokenizer> {
    Tokenizer::from_json(json.to_string().as_bytes(), Declared { ends: vec![2], ..Declared::default() })
}

proptest! {
    #[test]
    fn a_tokenizer_json_and_a_gguf_of_one_model_agree(text in testing::unicode()) {
        let (ours, theirs) = (testing::tokenizer(), from_json(&json()).unwrap());
        prop_assert_eq!(ours.encode_with_offsets(&text).unwrap(), theirs.encode_with_offsets(&text).unwrap());
    }

    #[test]
    fn special_tokens_are_those_of_the_tokenizers_crate(text in testing::unicode()) {
        let theirs = tokenizers::Tokenizer::from_bytes(json().to_string()).unwrap();
        let ours = from_json(&json()).unwrap().encode(&text, true).unwrap();
        let theirs = theirs.encode(text.as_str(), false).unwrap();
        prop_assert_eq!(&ours[..], theirs.get_ids());
    }
}

#[test]
fn a_tokenizer_json_says_how_texts_begin_and_may_be_short_of_the_rows() {
    let tokenizer = from_json(&json()).unwrap();
    assert_eq!((tokenizer.leading_bos(), tokenizer.end_tokens()), (Some(1), &[2, 0][..]));
    let rows = testing::VOCAB as usize;
    assert!(tokenizer.check_rows(rows + 1024).is_ok() && tokenizer.check_rows(rows + 1025).is_err());
    assert!(tokenizer.check_rows(rows - 1).is_err());
}

#[test]
fn an_unknown_token_that_is_never_needed_does_no_harm() {
    let mut named = json();
    named["model"]["unk_token"] = "<never>".into();
    let ids = |json| from_json(json).unwrap().encode("hello \u{9BE8}", false).unwrap();
    assert_eq!(ids(&named), ids(&json()));
}

#[test]
fn other_kinds_of_tokenizer_json_are_refused() {
    let refused = |pointer: &str, value: serde_json::Value| {
        let mut json = json();
        *json.pointer_mut(pointer).unwrap() = value;
        assert_eq!(from_json(&json).unwrap_err().code, Code::Tokenizer, "{pointer}");
    };
    refused("/decoder", serde_json::json!({ "type": "WordPiece" }));
    refused("/model/type", "Unigram".into());
    refused("/model/vocab", serde_json::json!({ "a": -1 }));
    refused("/model/vocab", serde_json::json!({ "a": u32::MAX }));
    refused("/model/vocab", serde_json::json!({ "a": 1 << 23 }));
    refused("/model/merges", serde_json::json!(["only"]));
    refused("/pre_tokenizer", serde_json::json!({ "type": "Nothing" }));
    for (part, text, taken) in [
        ("continuing_subword_prefix", "##", false),
        ("end_of_word_suffix", "</w>", false),
        ("end_of_word_suffix", "", true),
    ] {
        let mut json = json();
        json["model"][part] = text.into();
        assert_eq!(from_json(&json).is_ok(), taken, "{part} {text:?}");
    }
    let missing = Tokenizer::from_json_file(std::path::Path::new("no/such/tokenizer.json"), Declared::default());
    assert_eq!(missing.unwrap_err().details["path"], "no/such/tokenizer.json");
}
