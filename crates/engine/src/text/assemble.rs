use std::ops::Range;

use skimlm_core::{Code, Error, Result, Role, Rows, Warning};

use super::chat::{ChatTemplate, no_template};
use super::pieces::{Piece, encode_pieces};
use super::prompt::{ChatMessage, ChatRole, Prompt};
use super::splice::{Spliced, splice};
use super::tokenizer::Tokenizer;
use super::utf16::Cursor;

/// The last paragraph of a prompt counts as its question up to this many tokens.
pub const QUESTION_TOKENS: usize = 256;

/// Which of the caller's texts a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The text to read.
    Document,
    /// What is asked of it.
    Question,
    /// The chat template or the system message.
    Template,
}

/// Where a token comes from.
///
/// The range counts UTF-16 code units of the caller's own string: the prompt string, the document,
/// the question, or the content of message `message`. It is empty where there is no such string:
/// the template's words, `system` and bare tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Which text.
    pub source: Source,
    /// The index of the message, in a chat.
    pub message: Option<u32>,
    /// First code unit.
    pub start: u32,
    /// The one after the last.
    pub end: u32,
}

impl Origin {
    const TEMPLATE: Self = Self { source: Source::Template, message: None, start: 0, end: 0 };

    pub(super) fn overlaps(&self, (start, end): (u32, u32)) -> bool {
        self.start < end && start < self.end
    }
}

/// A prompt in tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembled {
    /// The tokens at positions `0..`, with roles.
    pub rows: Rows,
    /// Where each comes from.
    pub origins: Vec<Origin>,
    /// Remarks.
    pub warnings: Vec<Warning>,
}

/// A string of the caller's inside a content.
#[derive(Debug, Clone, Copy)]
struct Field<'t> {
    text: &'t str,
    source: Source,
    message: Option<u32>,
    role: Role,
}

/// What lies between the document and the question of one message.
const BETWEEN: Field<'static> = Field { text: "\n\n", source: Source::Template, message: None, role: Role::Template };

/// Turns a prompt into tokens.
///
/// `pins` are UTF-16 ranges of the document, the prompt string or the last user message; tokens
/// that overlap them are [`Role::Pinned`], the question's own included. Contents are never parsed
/// as special tokens; apart from that the tokens are those of the rendered chat encoded whole.
///
/// The question of a string and of a chat is the last paragraph of the string or of the last user
/// message, if it has at most [`QUESTION_TOKENS`] tokens and something else is there to read. A string is not put into a chat template.
///
/// `ERR_EMPTY_PROMPT`: there is nothing to read. `ERR_CHAT_TEMPLATE`: a chat, and no template or
/// one that fails. `ERR_INVALID_ARG`: pins or token ids out of range.
pub fn assemble(
    prompt: &Prompt,
    pins: &[(u32, u32)],
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<Assembled> {
    match prompt {
        Prompt::Tokens(tokens) => bare(tokens, pins, tokenizer),
        Prompt::Text(text) => {
            let field = Field { text, source: Source::Document, message: None, role: Role::Document };
            let mut assembled = plain(&[field], tokenizer)?;
            assembled.find_question(text, None);
            assembled.pin(pins, text, |origin| origin.source != Source::Template)?;
            Ok(assembled)
        }
        Prompt::Messages(messages) => chat(messages, pins, tokenizer, template),
        Prompt::Document { document, question, system } => {
            let mut assembled = asked(document, question, system.as_deref(), tokenizer, template)?;
            assembled.pin(pins, document, |origin| origin.source == Source::Document)?;
            Ok(assembled)
        }
    }
}

fn bare(tokens: &[u32], pins: &[(u32, u32)], tokenizer: &Tokenizer) -> Result<Assembled> {
    tokens.iter().try_for_each(|&id| tokenizer.check_id("prompt.tokens", id))?;
    let mut assembled = Assembled {
        rows: Rows::consecutive(tokens.to_vec(), 0, Role::Document),
        origins: vec![Origin { source: Source::Document, ..Origin::TEMPLATE }; tokens.len()],
        warnings: Vec::new(),
    };
    assembled.check_not_empty()?;
    assembled.pin(pins, "", |_| false)?;
    Ok(assembled)
}

fn chat(
    messages: &[ChatMessage],
    pins: &[(u32, u32)],
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<Assembled> {
    if messages.iter().all(|message| message.content.is_empty()) {
        return Err(empty());
    }
    let template = template.ok_or_else(no_template)?;
    let contents: Vec<Vec<Field<'_>>> = (0..)
        .zip(messages)
        .map(|(index, ChatMessage { role, content })| {
            let (source, role) = match role {
                ChatRole::System => (Source::Template, Role::System),
                ChatRole::User | ChatRole::Assistant => (Source::Document, Role::Document),
            };
            vec![Field { text: content, source, message: Some(index), role }]
        })
        .collect();
    let mut assembled = templated(messages, &contents, tokenizer, template)?;
    let last = (0..).zip(messages).filter(|(_, message)| message.role == ChatRole::User).last();
    if let Some((index, message)) = last {
        assembled.find_question(&message.content, Some(index));
        assembled.pin(pins, &message.content, |origin| origin.message == Some(index))?;
    } else {
        assembled.pin(pins, "", |_| false)?;
    }
    Ok(assembled)
}

fn asked(
    document: &str,
    question: &str,
    system: Option<&str>,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<Assembled> {
    let document = Field { text: document, source: Source::Document, message: None, role: Role::Document };
    let question = Field { text: question, source: Source::Question, message: None, role: Role::Question };
    let user = match (document.text.is_empty(), question.text.is_empty()) {
        (true, true) => return Err(empty()),
        (true, false) => vec![question],
        (false, true) => vec![document],
        (false, false) => vec![document, BETWEEN, question],
    };
    let system = system.map(|text| Field { text, source: Source::Template, message: None, role: Role::System });
    let Some(template) = template else {
        let system = system.filter(|system| !system.text.is_empty()).into_iter().flat_map(|system| [system, BETWEEN]);
        return plain(&system.chain(user).collect::<Vec<_>>(), tokenizer);
    };
    let contents: Vec<_> = system.map(|system| vec![system]).into_iter().chain([user]).collect();
    let roles = [ChatRole::System, ChatRole::User];
    let messages: Vec<_> = roles[2 - contents.len()..]
        .iter()
        .zip(&contents)
        .map(|(&role, fields)| ChatMessage { role, content: fields.iter().map(|field| field.text).collect() })
        .collect();
    templated(&messages, &contents, tokenizer, template)
}

/// A chat whose contents consist of `contents`.
fn templated(
    messages: &[ChatMessage],
    contents: &[Vec<Field<'_>>],
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
) -> Result<Assembled> {
    let parts = splice(template, messages)?;
    let mut pieces: Vec<FieldPiece<'_>> = Vec::new();
    for part in &parts {
        match part {
            Spliced::Template(words) => pieces.push((Piece::template(words), None)),
            Spliced::Content { message, bytes } => {
                let mut start = 0;
                for &field in &contents[*message] {
                    let end = start + field.text.len();
                    let (from, to) = (start.max(bytes.start), end.min(bytes.end));
                    if from < to {
                        pieces.push(piece(field, from - start..to - start));
                    }
                    start = end;
                }
            }
        }
    }
    let mut assembled = encode(&pieces, None, tokenizer)?;
    for (index, message) in messages.iter().enumerate() {
        let used = parts.iter().any(|part| matches!(part, Spliced::Content { message, .. } if *message == index));
        if !used && !message.content.trim().is_empty() {
            assembled.warnings.push(Warning {
                code: "W_MESSAGE_DROPPED",
                message: format!("The chat template leaves out the content of message {index}."),
            });
        }
    }
    Ok(assembled)
}

/// Text without a template, behind BOS if the model wants it.
fn plain(fields: &[Field<'_>], tokenizer: &Tokenizer) -> Result<Assembled> {
    if fields.iter().all(|field| field.text.is_empty()) {
        return Err(empty());
    }
    let pieces: Vec<_> = fields.iter().map(|&field| piece(field, 0..field.text.len())).collect();
    encode(&pieces, tokenizer.leading_bos(), tokenizer)
}

/// A piece, and the field that it is part of with its first byte there.
type FieldPiece<'t> = (Piece<'t>, Option<(Field<'t>, usize)>);

/// Some bytes of a field.
fn piece<'t>(field: Field<'t>, bytes: Range<usize>) -> FieldPiece<'t> {
    let text = &field.text[bytes.clone()];
    match field.role {
        Role::Template => (Piece::template(text), None),
        _ => (Piece::content(text), Some((field, bytes.start))),
    }
}

fn encode(pieces: &[FieldPiece<'_>], bos: Option<u32>, tokenizer: &Tokenizer) -> Result<Assembled> {
    let texts: Vec<Piece<'_>> = pieces.iter().map(|(piece, _)| *piece).collect();
    let placed = encode_pieces(tokenizer, &texts)?;
    let n = placed.len() + usize::from(bos.is_some());
    let (mut tokens, mut roles, mut origins) = (Vec::with_capacity(n), Vec::with_capacity(n), Vec::with_capacity(n));
    if let Some(bos) = bos.filter(|_| !placed.is_empty()) {
        tokens.push(bos);
        roles.push(Role::Template);
        origins.push(Origin::TEMPLATE);
    }
    let mut cursors: Vec<_> = pieces.iter().map(|(_, field)| field.map(|(f, _)| Cursor::new(f.text))).collect();
    for token in placed {
        tokens.push(token.id);
        let from = token.at.and_then(|(index, bytes)| Some((bytes, pieces[index].1?, cursors[index].as_mut()?)));
        let Some((bytes, (field, offset), cursor)) = from else {
            roles.push(Role::Template);
            origins.push(Origin::TEMPLATE);
            continue;
        };
        let Field { source, message, role, .. } = field;
        roles.push(role);
        origins.push(if source == Source::Template && message.is_none() {
            Origin::TEMPLATE
        } else {
            let start = cursor.at(offset + bytes.start);
            Origin { source, message, start, end: cursor.at(offset + bytes.end) }
        });
    }
    let rows = Rows { roles, ..Rows::consecutive(tokens, 0, Role::Document) };
    let assembled = Assembled { rows, origins, warnings: Vec::new() };
    assembled.check_not_empty()?;
    Ok(assembled)
}

impl Assembled {
    fn check_not_empty(&self) -> Result<()> {
        if self.rows.is_empty() { Err(empty()) } else { Ok(()) }
    }
}

fn empty() -> Error {
    Error::new(Code::EmptyPrompt, "The prompt is empty: there is not one token to read. Pass some text.")
}

#[cfg(test)]
mod tests;
