use std::sync::Arc;

use super::tokenizer::Tokenizer;

/// What ends a sentence, and what may close behind it.
const ENDS: &[char] = &['.', '!', '?', '\u{2026}', '\u{3002}', '\u{ff01}', '\u{ff1f}'];
const CLOSING: &[char] = &['"', '\'', ')', ']', '\u{201d}', '\u{2019}', '\u{bb}', '\u{300d}', '\u{300f}'];

impl Tokenizer {
    /// The tokens that end a sentence or hold a line break, ascending.
    pub fn sentence_ends(&self) -> Arc<[u32]> {
        let text = |id: u32| String::from_utf8_lossy(self.token_bytes(id));
        let ends = |text: &str| ends_sentence(text) || text.contains('\n');
        (0..self.vocab_size() as u32).filter(|&id| ends(&text(id))).collect()
    }
}

/// Whether a token's text ends a sentence, white space and closing quotes behind it not counted.
pub(super) fn ends_sentence(text: &str) -> bool {
    text.trim_end().trim_end_matches(CLOSING).ends_with(ENDS)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::ends_sentence;

    #[test]
    fn line_breaks_end_them_too() {
        let tokenizer = testing::tokenizer();
        let texts: Vec<String> = tokenizer.sentence_ends().iter().map(|&id| tokenizer.token_text(id)).collect();
        assert_eq!(texts, ["!", ".", "?", "\n", "\n\n", ".\n"]);
    }

    #[test]
    fn marks_end_sentences() {
        for token in [".", "?\"", " end.", "!)", "...", ".\n\n", "\u{3002}"] {
            assert!(ends_sentence(token), "{token:?}");
        }
        for token in ["", " ", "a", ",", "\"", ".5", "'s", ")", "\n"] {
            assert!(!ends_sentence(token), "{token:?}");
        }
    }
}
