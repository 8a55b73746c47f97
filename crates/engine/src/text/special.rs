use aho_corasick::{AhoCorasick, MatchKind};
use skimlm_core::{Code, Error, Result};

/// A token that stands for more than its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpecialToken {
    pub(crate) id: u32,
    pub(crate) text: String,
    /// Left out of decoded text on request; user-defined tokens are not.
    pub(crate) control: bool,
    /// Swallows the white space before it.
    pub(crate) lstrip: bool,
    /// Swallows the white space behind it.
    pub(crate) rstrip: bool,
}

/// A part of a text that may hold special tokens.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'t, 's> {
    Plain(&'t str),
    Special(&'s SpecialToken),
}

/// All special tokens of a vocabulary.
#[derive(Debug)]
pub(crate) struct Specials {
    tokens: Vec<SpecialToken>,
    finder: Option<AhoCorasick>,
}

impl Specials {
    pub(crate) fn new(mut tokens: Vec<SpecialToken>) -> Result<Self> {
        tokens.retain(|token| !token.text.is_empty());
        tokens.sort_by_key(|token| token.id);
        let finder = if tokens.is_empty() {
            None
        } else {
            let texts = tokens.iter().map(|token| &token.text);
            let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts);
            Some(built.map_err(|e| {
                Error::new(
                    Code::Tokenizer,
                    format!("The special tokens are too many: {e}. Use another tokenizer.json."),
                )
                .caused_by(e)
            })?)
        };
        Ok(Self { tokens, finder })
    }

    /// The special token with this id.
    pub(crate) fn get(&self, id: u32) -> Option<&SpecialToken> {
        self.tokens.binary_search_by_key(&id, |token| token.id).ok().map(|i| &self.tokens[i])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SpecialToken> {
        self.tokens.iter()
    }

    /// Cuts a text at its special tokens; empty parts are left out.
    pub(crate) fn split<'t>(&self, text: &'t str) -> Vec<Part<'t, '_>> {
        let mut parts = Vec::new();
        let mut from = 0;
        for found in self.finder.iter().flat_map(|finder| finder.find_iter(text)) {
            if found.start() > from {
                parts.push(Part::Plain(&text[from..found.start()]));
            }
            parts.push(Part::Special(&self.tokens[found.pattern().as_usize()]));
            from = found.end();
        }
        if from < text.len() {
            parts.push(Part::Plain(&text[from..]));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u32, text: &str) -> SpecialToken {
        SpecialToken { id, text: text.into(), control: true, lstrip: false, rstrip: false }
    }

    #[test]
    fn the_longest_of_two_wins() {
        let specials = Specials::new(vec![token(9, "<|a|><|b|>"), token(3, "<|a|>")]).unwrap();
        let parts = specials.split("x<|a|>y<|a|><|b|>");
        let ids: Vec<_> = parts.iter().map(|p| matches!(p, Part::Special(t) if t.id == 9)).collect();
        assert_eq!(parts[0], Part::Plain("x"));
        assert_eq!(ids, [false, false, false, true]);
        assert_eq!(specials.get(3).unwrap().text, "<|a|>");
        assert!(specials.get(4).is_none());
        assert_eq!(specials.split("<|a|><|a|>").len(), 2, "nothing lies between them");
    }

    #[test]
    fn a_vocabulary_without_any_is_plain() {
        let specials = Specials::new(Vec::new()).unwrap();
        assert_eq!(specials.split("<s>"), [Part::Plain("<s>")]);
        assert!(specials.split("").is_empty());
    }
}
