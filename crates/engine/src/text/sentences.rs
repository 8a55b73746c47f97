use std::sync::Arc;

use super::tokenizer::Tokenizer;

impl Tokenizer {
    /// The tokens that end a sentence or a line, ascending: their text ends with `.`, `!` or `?`, closing
    /// quotes and brackets aside, or holds a line break.
    pub fn sentence_ends(&self) -> Arc<[u32]> {
        (0..self.vocab_size() as u32).filter(|&id| ends_sentence(self.token_bytes(id))).collect()
    }
}

fn ends_sentence(token: &[u8]) -> bool {
    let closing = |byte: &u8| matches!(byte, b'"' | b'\'' | b')' | b']' | b' ');
    let last = token.iter().rev().find(|byte| !closing(byte));
    matches!(last, Some(b'.' | b'!' | b'?')) || token.contains(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::ends_sentence;

    #[test]
    fn marks_and_line_breaks_end_sentences() {
        for token in [".", "?\"", " end.", "!)", "...", "\n", ".\n\n", " \n"] {
            assert!(ends_sentence(token.as_bytes()), "{token:?}");
        }
        for token in ["", " ", "a", ",", "\"", ".5", "'s", ")"] {
            assert!(!ends_sentence(token.as_bytes()), "{token:?}");
        }
    }
}
