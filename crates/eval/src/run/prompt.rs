use std::ops::Range;

use skimlm_core::{Result, Role};
use skimlm_engine::Loaded;
use skimlm_engine::text::{Assembled, Prompt, Source, assemble};

use crate::Case;

/// Counts the tokens of a text; one that cannot be encoded fits nowhere.
pub(crate) fn counter(loaded: &Loaded) -> impl Fn(&str) -> usize {
    move |text| loaded.tokenizer.encode(text, false).map_or(usize::MAX, |ids| ids.len())
}

/// A case as a model reads it.
pub(crate) struct ReadCase {
    /// What is asked of the engine.
    pub(crate) prompt: Prompt,
    /// The same in tokens.
    pub(crate) assembled: Assembled,
    /// For each token the bytes of the case's document that it stands for.
    bytes: Vec<Option<Range<usize>>>,
}

impl ReadCase {
    pub(crate) fn new(case: &Case, loaded: &Loaded) -> Result<Self> {
        let (prompt, text, skipped) = match (&case.raw, case.question.is_empty()) {
            (Some(raw), _) => {
                let text = format!("{}{}{}", raw.before, case.document, raw.after);
                (Prompt::Text(text.clone()), text, raw.before.len())
            }
            // Nothing is asked: the text is to be gone on with.
            (None, true) => (Prompt::Text(case.document.clone()), case.document.clone(), 0),
            (None, false) => {
                let (document, question) = (case.document.clone(), case.question.clone());
                (Prompt::Document { document, question, system: None }, case.document.clone(), 0)
            }
        };
        let assembled = assemble(&prompt, &[], &loaded.tokenizer, loaded.template.as_deref())?;
        let places = byte_of_units(&text);
        let inside = skipped..skipped + case.document.len();
        let bytes = assembled.origins.iter().map(|origin| {
            let (start, end) = (*places.get(origin.start as usize)?, *places.get(origin.end as usize)?);
            let within = origin.source == Source::Document && start < end && start < inside.end && end > inside.start;
            within.then(|| start.max(inside.start) - skipped..end.min(inside.end) - skipped)
        });
        let bytes = bytes.collect();
        Ok(Self { prompt, assembled, bytes })
    }

    /// The bytes of the document that some tokens stand for.
    pub(crate) fn bytes_of(&self, tokens: &[u32]) -> Vec<Range<usize>> {
        tokens.iter().filter_map(|&token| self.bytes.get(token as usize)?.clone()).collect()
    }

    /// The tokens that stand for any of some bytes of the document.
    pub(crate) fn tokens_of(&self, places: &[Range<usize>]) -> Vec<u32> {
        let touches = |bytes: &Range<usize>| places.iter().any(|p| p.start < bytes.end && bytes.start < p.end);
        (0..).zip(&self.bytes).filter(|(_, b)| b.as_ref().is_some_and(touches)).map(|(i, _)| i).collect()
    }

    /// Whether a token is a plain part of the case's document.
    pub(crate) fn is_document(&self, token: usize) -> bool {
        self.assembled.rows.roles.get(token) == Some(&Role::Document)
            && self.bytes.get(token).is_some_and(Option::is_some)
    }
}

/// For each UTF-16 code unit of a text, and its end, the byte of the character it belongs to.
fn byte_of_units(text: &str) -> Vec<usize> {
    let units = text.char_indices().flat_map(|(byte, c)| std::iter::repeat_n(byte, c.len_utf16()));
    units.chain([text.len()]).collect()
}

#[cfg(test)]
mod tests {
    use super::byte_of_units;

    #[test]
    fn code_units_are_placed_on_bytes() {
        assert_eq!(byte_of_units("aé𝄞b"), [0, 1, 3, 3, 7, 8]);
    }
}
