//! The real SmolLM2 vocabulary against values recorded from a reference.

use serde_json::Value;
use skimlm_core::Role;
use skimlm_models::testing::default_model;
use skimlm_models::weights::gguf::Gguf;

use super::{ChatMessage, ChatRole, ChatTemplate, GgufVocab, Prompt, Source, Tokenizer, assemble};

fn model() -> Option<Gguf> {
    default_model().map(|path| Gguf::open(&path).unwrap())
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/data/smollm2.json")).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn texts_have_the_recorded_tokens() {
    let Some(gguf) = model() else { return };
    let tokenizer = Tokenizer::from_gguf(GgufVocab::read(&gguf).unwrap()).unwrap();
    tokenizer.check_rows(49152).unwrap();
    assert_eq!(tokenizer.end_tokens(), [2, 0]);
    assert_eq!(tokenizer.leading_bos(), None);
    for case in golden()["tokenizer"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let expected = ids(&case["ids"]);
        // The reference parses special tokens.
        assert_eq!(tokenizer.encode(text, true).unwrap(), expected, "{text:?}");
        let plain = tokenizer.encode(text, false).unwrap();
        assert_eq!(plain == expected, !text.contains("<|im_start|>"), "{text:?}");
        assert_eq!(tokenizer.decode(&plain, false).unwrap(), text);
    }
}

#[test]
fn the_recorded_chat_has_the_recorded_tokens() {
    let Some(gguf) = model() else { return };
    let tokenizer = Tokenizer::from_gguf(GgufVocab::read(&gguf).unwrap()).unwrap();
    let source = gguf.get_str("tokenizer.chat_template").unwrap().unwrap();
    let template = ChatTemplate::new(source, "<|im_start|>", "<|im_end|>").unwrap();
    let golden = golden();
    let expected = ids(&golden["prompt_ids"]);
    let rendered = tokenizer.decode(&expected, false).unwrap();
    let (_, rest) = rendered.split_once("<|im_start|>user\n").unwrap();
    let (content, _) = rest.split_once("<|im_end|>").unwrap();

    let messages = vec![ChatMessage { role: ChatRole::User, content: content.into() }];
    let chat = assemble(&Prompt::Messages(messages), &[], &tokenizer, Some(&template)).unwrap();
    assert_eq!(chat.rows.tokens, expected);
    assert_eq!(text_of(&tokenizer, &chat.rows, Role::Question), content.rsplit('\n').next().unwrap());

    // The same text as a document and a question.
    let (document, question) = content.rsplit_once("\n\n").unwrap();
    let prompt = Prompt::Document { document: document.into(), question: question.into(), system: None };
    let asked = assemble(&prompt, &[], &tokenizer, Some(&template)).unwrap();
    assert_eq!(asked.rows.tokens, expected);
    assert_eq!(text_of(&tokenizer, &asked.rows, Role::Document), document);
    let code = document.find("7391").unwrap() as u32;
    let origin = asked.origins.iter().find(|o| o.source == Source::Document && o.end > code).unwrap();
    assert_eq!((origin.start, origin.end), (code, code + 1), "digits are tokens of their own");
}

fn text_of(tokenizer: &Tokenizer, rows: &skimlm_core::Rows, role: Role) -> String {
    let tokens = rows.tokens.iter().zip(&rows.roles).filter(|(_, r)| **r == role).map(|(&id, _)| id);
    tokenizer.decode(&tokens.collect::<Vec<_>>(), false).unwrap()
}
