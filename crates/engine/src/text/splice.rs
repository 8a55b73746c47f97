use std::ops::Range;

use skimlm_core::{Code, Error, Result};

use super::chat::ChatTemplate;
use super::prompt::ChatMessage;

/// A part of a rendered chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spliced {
    /// The template's own words.
    Template(String),
    /// Bytes of the content of a message.
    Content { message: usize, bytes: Range<usize> },
}

/// Renders a chat such that the template's words and the contents stay apart.
///
/// The template is rendered once with a mark in place of every content, which tells what is its
/// own, and once as it is, which tells what it did to the contents: they may come trimmed or not
/// at all. `ERR_CHAT_TEMPLATE` if it changes them otherwise.
pub(crate) fn splice(template: &ChatTemplate, messages: &[ChatMessage]) -> Result<Vec<Spliced>> {
    let rendered = template.render(messages, true)?;
    let mark = unused_mark(&rendered, messages);
    let skeleton = |marked: &dyn Fn(&str) -> bool| {
        let marked = messages.iter().enumerate().map(|(i, ChatMessage { role, content })| ChatMessage {
            role: *role,
            content: if marked(content) { format!("{mark}{i}x") } else { content.clone() },
        });
        template.render(&marked.collect::<Vec<_>>(), true)
    };
    // Templates may look whether there is a content, so an empty one stays what it is; white space
    // may count as none.
    let first = align(&skeleton(&|content| !content.is_empty())?, &mark, &rendered, messages);
    let parts = match first {
        Some(parts) => Some(parts),
        None => align(&skeleton(&|content| !content.trim().is_empty())?, &mark, &rendered, messages),
    };
    parts.ok_or_else(|| {
        Error::new(
            Code::ChatTemplate,
            "The chat template rewrites message contents, so tokens cannot be traced back to them. Give another \
             template with the option `chatTemplate` or pass the prompt as a string.",
        )
        .with("option", "chatTemplate")
    })
}

/// Letters and digits only, since templates trim, split and escape.
fn unused_mark(rendered: &str, messages: &[ChatMessage]) -> String {
    let used = |mark: &str| rendered.contains(mark) || messages.iter().any(|message| message.content.contains(mark));
    let mut number = 0u64;
    loop {
        let mark = format!("Skim{number}Content");
        if !used(&mark) {
            return mark;
        }
        number += 1;
    }
}

fn align(skeleton: &str, mark: &str, rendered: &str, messages: &[ChatMessage]) -> Option<Vec<Spliced>> {
    let mut parts = Vec::new();
    let mut sections = skeleton.split(mark);
    let mut rest = take(&mut parts, rendered, sections.next()?)?;
    while let Some(section) = sections.next() {
        let (number, words) = section.split_once('x')?;
        let message: usize = number.parse().ok()?;
        let content = messages.get(message)?.content.as_str();
        let last = sections.clone().next().is_none();
        let follows = |after: &str| if last { after == words } else { after.starts_with(words) };
        let bytes = variants(content)
            .into_iter()
            .find(|bytes| rest.strip_prefix(&content[bytes.clone()]).is_some_and(follows))?;
        rest = &rest[bytes.len()..];
        if !bytes.is_empty() {
            parts.push(Spliced::Content { message, bytes });
        }
        rest = take(&mut parts, rest, words)?;
    }
    rest.is_empty().then_some(parts)
}

fn take<'r>(parts: &mut Vec<Spliced>, rest: &'r str, words: &str) -> Option<&'r str> {
    let rest = rest.strip_prefix(words)?;
    if !words.is_empty() {
        parts.push(Spliced::Template(words.into()));
    }
    Some(rest)
}

/// What a template may leave of a content: all of it, or what trimming leaves.
fn variants(content: &str) -> [Range<usize>; 4] {
    let end = content.trim_end().len();
    let start = content.len() - content.trim_start().len();
    [0..content.len(), start.min(end)..end, 0..end, start..content.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::prompt::ChatRole;
    use super::super::testing;
    use super::*;

    fn user(content: &str) -> ChatMessage {
        ChatMessage { role: ChatRole::User, content: content.into() }
    }

    fn spliced(source: &str, messages: &[ChatMessage]) -> Result<Vec<Spliced>> {
        splice(&ChatTemplate::new(source, "", "")?, messages)
    }

    proptest! {
        #[test]
        fn the_parts_are_the_rendered_chat(contents in prop::collection::vec(testing::unicode(), 1..4), trim in any::<bool>()) {
            let source = if trim { "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}>" } else { testing::CHATML };
            let messages: Vec<_> = contents.iter().map(|content| user(content)).collect();
            let template = ChatTemplate::new(source, "", "").unwrap();
            let whole: String = splice(&template, &messages).unwrap().into_iter().map(|part| match part {
                Spliced::Template(words) => words,
                Spliced::Content { message, bytes } => messages[message].content[bytes].to_owned(),
            }).collect();
            prop_assert_eq!(whole, template.render(&messages, true).unwrap());
        }
    }

    #[test]
    fn a_text_that_holds_a_mark_is_no_mark() {
        let content = "Skim0Content0xSkim1Content";
        let parts = spliced("<{{ messages[0].content }}>", &[user(content)]).unwrap();
        assert_eq!(parts[1], Spliced::Content { message: 0, bytes: 0..content.len() });
        let words = "Skim0Content";
        let parts = spliced(&format!("{words}{{{{ messages[0].content }}}}"), &[user("a")]).unwrap();
        assert_eq!(parts, [Spliced::Template(words.into()), Spliced::Content { message: 0, bytes: 0..1 }]);
    }

    #[test]
    fn conditions_on_the_content_see_the_content() {
        let source = "{% if messages[0].content.strip() %}some{% else %}none{% endif %}[{{ messages[0].content }}]";
        assert_eq!(spliced(source, &[user(" ")]).unwrap(), [Spliced::Template("none[ ]".into())]);
        assert_eq!(spliced(source, &[user("a")]).unwrap().len(), 3);
    }

    #[test]
    fn a_template_that_rewrites_contents_is_refused() {
        let error = spliced("{{ messages[0].content | upper }}", &[user("abc")]).unwrap_err();
        assert_eq!(error.code, Code::ChatTemplate);
        assert!(error.message.contains("rewrites message contents"));
    }
}
