use std::sync::Arc;

use proptest::prelude::*;

use super::super::testing;
use super::super::utf16::units;
use super::*;

fn message(role: ChatRole, content: &str) -> ChatMessage {
    ChatMessage { role, content: content.into() }
}

fn chatml(prompt: &Prompt, pins: &[(u32, u32)]) -> Result<Assembled> {
    assemble(prompt, pins, &testing::tokenizer(), Some(&testing::chatml()))
}

fn document(document: &str, question: &str, system: Option<&str>) -> Prompt {
    Prompt::Document { document: document.into(), question: question.into(), system: system.map(String::from) }
}

/// The text of the tokens of a role.
fn of(assembled: &Assembled, role: Role) -> String {
    let rows = assembled.rows.roles.iter().zip(&assembled.rows.tokens);
    let ids: Vec<u32> = rows.filter(|(r, _)| **r == role).map(|(_, &id)| id).collect();
    testing::tokenizer().decode(&ids, false).unwrap()
}

/// The ranges of a source, joined where they touch.
fn ranges(assembled: &Assembled, source: Source, message: Option<u32>) -> Vec<(u32, u32)> {
    let mut joined: Vec<(u32, u32)> = Vec::new();
    for origin in assembled.origins.iter().filter(|o| o.source == source && o.message == message && o.end > 0) {
        match joined.last_mut() {
            Some(last) if origin.start <= last.1 => last.1 = last.1.max(origin.end),
            _ => joined.push((origin.start, origin.end)),
        }
    }
    joined
}

fn length(text: &str) -> Vec<(u32, u32)> {
    if text.is_empty() { Vec::new() } else { vec![(0, units(text))] }
}

/// The rendered chat encoded whole, where its contents hold no special tokens.
fn whole(messages: &[ChatMessage]) -> Vec<u32> {
    testing::tokenizer().encode(&testing::chatml().render(messages, true).unwrap(), true).unwrap()
}

#[test]
fn what_lies_between_document_and_question_may_be_a_special_token() {
    let mut vocab = testing::vocab("smollm");
    vocab.tokens[3] = "\n\n".into();
    let tokenizer = Tokenizer::from_gguf(vocab).unwrap();
    let tokens = assemble(&document("a\n\nb", "c", None), &[], &tokenizer, None).unwrap().rows.tokens;
    let plain = |text: &str| tokenizer.encode(text, false).unwrap();
    assert_eq!(tokens, [plain("a\n\nb"), vec![3], plain("c")].concat());
}

proptest! {
    #[test]
    fn a_chat_has_the_tokens_of_the_rendered_text(contents in prop::collection::vec(testing::unicode(), 1..4)) {
        let contents: Vec<String> = contents.iter().map(|c| c.replace(['<', '>'], "/") + "x").collect();
        let roles = [ChatRole::System, ChatRole::User, ChatRole::Assistant];
        let messages: Vec<_> = contents.iter().zip(roles).map(|(c, role)| message(role, c)).collect();
        let assembled = chatml(&Prompt::Messages(messages.clone()), &[]).unwrap();
        prop_assert_eq!(&assembled.rows.tokens, &whole(&messages));
        prop_assert_eq!(assembled.origins.len(), assembled.rows.len());
        prop_assert_eq!(&assembled.rows.positions, &(0..assembled.rows.len() as u32).collect::<Vec<_>>());
        for (i, content) in contents.iter().enumerate() {
            let sources = [Source::Document, Source::Question, Source::Template];
            let mut found: Vec<_> = sources.iter().flat_map(|&s| ranges(&assembled, s, Some(i as u32))).collect();
            found.sort_unstable();
            prop_assert_eq!((found[0].0, found[found.len() - 1].1), length(content)[0]);
            prop_assert!(found.windows(2).all(|pair| pair[1].0 <= pair[0].1));
        }
    }

    #[test]
    fn contents_never_become_special_tokens(text in testing::unicode(), question in testing::unicode()) {
        prop_assume!(!text.is_empty() || !question.is_empty());
        let assembled = chatml(&document(&text, &question, Some(&text)), &[]).unwrap();
        let special = assembled.rows.tokens.iter().filter(|id| **id < 4).count();
        prop_assert_eq!(special, 5, "two turns of two marks each, and the one that opens the answer");
        prop_assert_eq!(ranges(&assembled, Source::Document, None), length(&text));
        prop_assert_eq!(ranges(&assembled, Source::Question, None), length(&question));
    }
}

#[test]
fn a_document_and_a_question_have_their_roles() {
    let assembled = chatml(&document("the world.", "hello?", Some("user")), &[]).unwrap();
    assert_eq!(of(&assembled, Role::Document), "the world.");
    assert_eq!(of(&assembled, Role::Question), "hello?");
    assert_eq!(of(&assembled, Role::System), "user");
    let template = "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n\n\n<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(of(&assembled, Role::Template), template);
    let text = "the world.\n\nhello?";
    let messages = [message(ChatRole::System, "user"), message(ChatRole::User, text)];
    assert_eq!(assembled.rows.tokens, whole(&messages));
    assert!(assembled.warnings.is_empty());
}

#[test]
fn without_a_template_a_document_is_plain_text_behind_bos() {
    let mut vocab = testing::vocab("smollm");
    vocab.add_bos = Some(true);
    let tokenizer = Tokenizer::from_gguf(vocab).unwrap();
    let assembled = assemble(&document("hello", "user", Some("system")), &[], &tokenizer, None).unwrap();
    assert_eq!(tokenizer.decode(&assembled.rows.tokens, false).unwrap(), "<|im_start|>system\n\nhello\n\nuser");
    assert_eq!(of(&assembled, Role::System), "system");
    assert_eq!(of(&assembled, Role::Question), "user");
    let raw = assemble(&Prompt::Text("<|im_end|>".into()), &[], &tokenizer, Some(&testing::chatml())).unwrap();
    assert_eq!(raw.rows.tokens[0], 1);
    assert!(raw.rows.tokens[1..].iter().all(|&id| id > 3));
}

#[test]
fn the_question_is_the_last_paragraph_of_the_last_user_message() {
    let messages = |last: &str| {
        let roles = [ChatRole::System, ChatRole::User, ChatRole::Assistant];
        let mut messages: Vec<_> = roles.iter().map(|&role| message(role, "a\nb")).collect();
        messages.push(message(ChatRole::User, last));
        chatml(&Prompt::Messages(messages), &[]).unwrap()
    };
    let found = messages("the world.\n\n\u{1F40B} hello?\r\n \n");
    assert_eq!(of(&found, Role::Question), "\u{1F40B} hello?");
    assert_eq!(ranges(&found, Source::Question, Some(3)), [(12, 21)]);
    assert_eq!(of(&found, Role::System), "a\nb");
    assert_eq!(of(&found, Role::Document), "a\nba\nbthe world.\n\n\r\n \n");
    assert_eq!(of(&messages("hello"), Role::Question), "hello");
    assert_eq!(of(&messages(" \n "), Role::Question), "");
    let alone = chatml(&Prompt::Text("hello".into()), &[]).unwrap();
    assert_eq!(of(&alone, Role::Document), "hello", "there is nothing else to read");
}

#[test]
fn a_long_last_paragraph_is_no_question() {
    for (tokens, expected) in [(QUESTION_TOKENS, QUESTION_TOKENS), (QUESTION_TOKENS + 1, 0)] {
        let text = format!("user\n{}", "7".repeat(tokens));
        let assembled = chatml(&Prompt::Text(text), &[]).unwrap();
        assert_eq!(assembled.rows.roles.iter().filter(|role| **role == Role::Question).count(), expected);
    }
}

#[test]
fn pins_mark_the_tokens_that_they_touch() {
    let text = "\u{1F40B} hello world\nuser";
    let pinned = |prompt: &Prompt, pins: &[(u32, u32)]| of(&chatml(prompt, pins).unwrap(), Role::Pinned);
    let prompt = document(text, "hello", Some("hello"));
    assert_eq!(pinned(&prompt, &[(4, 5)]), "hello");
    assert_eq!(pinned(&prompt, &[(1, 2), (9, 9)]), "\u{1F40B}");
    assert_eq!(pinned(&prompt, &[(15, 19), (2, 3), (0, 3), (16, 18)]), "\u{1F40B} user");
    assert_eq!(pinned(&Prompt::Text(text.into()), &[(15, 16)]), "user");
    assert_eq!(pinned(&prompt, &[(0, 3), (4, 5)]), "\u{1F40B} hello", "one ends where the next one's token begins");
    let messages = Prompt::Messages(vec![message(ChatRole::User, "user"), message(ChatRole::User, text)]);
    assert_eq!(pinned(&messages, &[(3, 8)]), "hello");
    for pins in [[(5, 4)], [(0, 20)]] {
        let error = chatml(&prompt, &pins).unwrap_err();
        assert_eq!((error.code, error.details["option"].as_str()), (Code::InvalidArg, Some("pins.text")));
    }
    assert_eq!(chatml(&Prompt::Tokens(vec![5]), &[(0, 1)]).unwrap_err().code, Code::InvalidArg);
}

#[test]
fn tokens_are_taken_as_they_are_if_there_are_such() {
    let assembled = chatml(&Prompt::Tokens(vec![2, 9, 2]), &[]).unwrap();
    assert_eq!(assembled.rows.tokens, [2, 9, 2]);
    assert_eq!(assembled.rows.roles, [Role::Document; 3]);
    let error = chatml(&Prompt::Tokens(vec![2, testing::VOCAB]), &[]).unwrap_err();
    assert_eq!((error.code, &error.details["value"]), (Code::InvalidArg, &testing::VOCAB.into()));
}

#[test]
fn nothing_to_read_is_an_error_and_white_space_is_something() {
    let empty = [
        Prompt::Text(String::new()),
        Prompt::Messages(Vec::new()),
        Prompt::Messages(vec![message(ChatRole::User, "")]),
        document("", "", Some("system")),
        Prompt::Tokens(Vec::new()),
    ];
    for prompt in &empty {
        assert_eq!(chatml(prompt, &[]).unwrap_err().code, Code::EmptyPrompt, "{prompt:?}");
    }
    let white =
        [Prompt::Text(" \n".into()), Prompt::Messages(vec![message(ChatRole::User, " ")]), document(" ", "", None)];
    for prompt in &white {
        assert!(chatml(prompt, &[]).is_ok(), "{prompt:?}");
    }
    assert_eq!(of(&chatml(&document("", "hello", None), &[]).unwrap(), Role::Question), "hello");
}

#[test]
fn a_chat_needs_a_template() {
    let error = assemble(&Prompt::Messages(vec![message(ChatRole::User, "a")]), &[], &testing::tokenizer(), None);
    let error = error.unwrap_err();
    assert_eq!((error.code, error.details["option"].as_str()), (Code::ChatTemplate, Some("chatTemplate")));
}

#[test]
fn trimmed_contents_keep_their_offsets_and_dropped_ones_are_told() {
    let source = "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{{ m.content | trim }}<|im_end|>{% endif %}{% endfor %}";
    let template = ChatTemplate::new(source, "", "").unwrap();
    let prompt = document("  hello", "user \n", Some("system"));
    let assembled = assemble(&prompt, &[], &testing::tokenizer(), Some(&template)).unwrap();
    assert_eq!(ranges(&assembled, Source::Document, None), [(2, 7)]);
    assert_eq!(ranges(&assembled, Source::Question, None), [(0, 4)]);
    assert_eq!(assembled.warnings[0].code, "W_MESSAGE_DROPPED");
}

#[test]
fn tokens_across_a_seam_belong_to_the_content() {
    let tokenizer = Arc::new(Tokenizer::from_gguf(testing::vocab("gpt-2")).unwrap());
    let prompt = Prompt::Messages(vec![message(ChatRole::User, "\n ")]);
    let assembled = assemble(&prompt, &[], &tokenizer, Some(&testing::chatml())).unwrap();
    // `user\n` and `\n` become one token of two line breaks, of which one is the caller's.
    let row = assembled.origins.iter().position(|origin| origin.message.is_some()).unwrap();
    assert_eq!(tokenizer.token_text(assembled.rows.tokens[row]), "\n\n");
    assert_eq!((assembled.origins[row].start, assembled.origins[row].end), (0, 1));
}
