use std::ops::Range;

use skimlm_core::Result;

use super::special::Part;
use super::tokenizer::Tokenizer;

/// A part of a prompt, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'t> {
    pub(crate) text: &'t str,
    /// The caller's own text: never parsed as special tokens, and tokens are traced back to it.
    pub(crate) content: bool,
}

impl<'t> Piece<'t> {
    pub(crate) fn template(text: &'t str) -> Self {
        Self { text, content: false }
    }

    pub(crate) fn content(text: &'t str) -> Self {
        Self { text, content: true }
    }
}

/// A token, and the bytes of the content piece that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) id: u32,
    pub(crate) at: Option<(usize, Range<usize>)>,
}

/// The text between two special tokens, encoded in one go so that tokens may cross from template
/// to content as they do when the rendered prompt is encoded whole.
#[derive(Default)]
struct Run {
    text: String,
    /// Content pieces and where they lie in `text`.
    contents: Vec<(usize, Range<usize>)>,
    /// A special token is before it.
    follows: bool,
    rstrip: bool,
}

/// Encodes pieces as one text. A token that overlaps content belongs to the first content that it
/// overlaps.
pub(crate) fn encode_pieces(tokenizer: &Tokenizer, pieces: &[Piece<'_>]) -> Result<Vec<Placed>> {
    let mut placed = Vec::new();
    let mut run = Run::default();
    for (index, piece) in pieces.iter().enumerate() {
        if piece.content {
            let start = run.text.len();
            run.text.push_str(piece.text);
            run.contents.push((index, start..run.text.len()));
            continue;
        }
        for part in tokenizer.specials().split(piece.text) {
            match part {
                Part::Plain(text) => run.text.push_str(text),
                Part::Special(token) => {
                    run.flush(tokenizer, token.lstrip, &mut placed)?;
                    placed.push(Placed { id: token.id, at: None });
                    run = Run { follows: true, rstrip: token.rstrip, ..Run::default() };
                }
            }
        }
    }
    run.flush(tokenizer, false, &mut placed)?;
    Ok(placed)
}

impl Run {
    fn flush(&self, tokenizer: &Tokenizer, lstrip: bool, placed: &mut Vec<Placed>) -> Result<()> {
        let text = if lstrip { self.text.trim_end() } else { &self.text };
        let start = if self.rstrip { text.len() - text.trim_start().len() } else { 0 };
        if start == text.len() {
            return Ok(());
        }
        let mut contents = self.contents.iter().peekable();
        for (id, range) in tokenizer.encode_plain(&text[start..], !self.follows)? {
            let range = range.start + start..range.end + start;
            while contents.next_if(|(_, content)| content.end <= range.start).is_some() {}
            let at = contents.peek().filter(|(_, content)| content.start < range.end).map(|(index, content)| {
                (*index, range.start.max(content.start) - content.start..range.end.min(content.end) - content.start)
            });
            placed.push(Placed { id, at });
        }
        Ok(())
    }
}
