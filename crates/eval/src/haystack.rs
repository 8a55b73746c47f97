use std::ops::Range;

use skimlm_core::{Code, Error, Result};

use crate::fit::fit;
use crate::random::Random;
use crate::{Count, Recipe, Split, sentences};

/// Real text that documents are cut from, at sentence boundaries.
///
/// Calibration reads the first half, evaluation the second. A document longer than its half begins it again, as the
/// published needle tests repeat their essays.
#[derive(Debug)]
pub struct Haystack {
    text: String,
    /// Where each sentence starts; each goes on to the next start, white space included.
    starts: Vec<usize>,
}

/// A sentence to hide, and where: 0 is the start of the document, 1 its end.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) depth: f32,
}

/// A document of the right size.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) document: String,
    /// The bytes of each piece, in the order given.
    pub(crate) places: Vec<Range<usize>>,
    /// The sentence that the text goes on with.
    next: Cursor,
}

/// A sentence of one half, counted on over its end.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    first: usize,
    len: usize,
    at: usize,
}

impl Haystack {
    const FEWEST_SENTENCES: usize = 20;

    /// Cuts the text into sentences. `ERR_INVALID_ARG` for fewer than 20.
    pub fn new(text: &str) -> Result<Self> {
        let starts: Vec<usize> = sentences(text).into_iter().map(|sentence| sentence.start).collect();
        if starts.len() < Self::FEWEST_SENTENCES {
            return Err(Error::new(
                Code::InvalidArg,
                format!(
                    "The text to hide facts in has {} sentences; at least {} are needed. Give a book.",
                    starts.len(),
                    Self::FEWEST_SENTENCES
                ),
            )
            .with("sentences", starts.len()));
        }
        Ok(Self { text: text.trim_end().to_owned(), starts })
    }

    /// Fills a document to just below the recipe's tokens with text from a drawn place on, the pieces among it.
    pub(crate) fn fill(&self, recipe: &Recipe, random: &mut Random, pieces: &[Piece], count: &Count) -> Result<Filled> {
        let half = self.starts.len() / 2;
        let (first, len) = match recipe.split {
            Split::Calibration => (0, half),
            Split::Evaluation => (half, self.starts.len() - half),
        };
        let from = Cursor { first, len, at: random.below(len) };
        // No sentence is shorter than a token.
        let build = |n: usize| self.assemble(from, n, pieces).0;
        let Some((taken, _)) = fit(recipe.tokens, recipe.tokens, &build, count) else {
            return Err(Error::new(
                Code::InvalidArg,
                format!("{} tokens do not hold the facts of this task. Ask for a longer document.", recipe.tokens),
            )
            .with("tokens", recipe.tokens));
        };
        let (document, places) = self.assemble(from, taken, pieces);
        Ok(Filled { document, places, next: from.on(taken) })
    }

    /// The text behind a document: whole sentences until there are at least `tokens` tokens.
    pub(crate) fn following(&self, filled: &Filled, tokens: usize, count: &Count) -> String {
        let mut text = String::new();
        for i in 0..tokens {
            text.push_str(self.sentence(filled.next.on(i)));
            if count(&text) >= tokens {
                break;
            }
        }
        text.trim_end().to_owned()
    }

    /// The distinct words of four to nine plain small letters, in order.
    pub(crate) fn words(&self) -> Vec<&str> {
        let plain = |word: &&str| (4..=9).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
        let mut words: Vec<&str> = self.text.split(|c: char| !c.is_alphanumeric()).filter(plain).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    fn sentence(&self, cursor: Cursor) -> &str {
        let i = cursor.first + cursor.at % cursor.len;
        let end = self.starts.get(i + 1).copied().unwrap_or(self.text.len());
        &self.text[self.starts[i]..end]
    }

    fn assemble(&self, from: Cursor, n: usize, pieces: &[Piece]) -> (String, Vec<Range<usize>>) {
        let filler: usize = (0..n).map(|i| self.sentence(from.on(i)).len()).sum();
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by(|&a, &b| pieces[a].depth.total_cmp(&pieces[b].depth));
        let mut order = order.into_iter().peekable();
        let mut document = String::new();
        let mut places = vec![0..0; pieces.len()];
        let mut read = 0;
        for i in 0..=n {
            let sentence = if i < n { self.sentence(from.on(i)) } else { "" };
            // A piece goes to the last boundary at or before its depth.
            let end = (read + sentence.len()) as f64;
            let reached = |piece: usize| i == n || f64::from(pieces[piece].depth) * (filler as f64) < end;
            while let Some(piece) = order.next_if(|&piece| reached(piece)) {
                space(&mut document);
                let start = document.len();
                document.push_str(&pieces[piece].text);
                places[piece] = start..document.len();
            }
            if !sentence.is_empty() {
                space(&mut document);
                document.push_str(sentence);
                read += sentence.len();
            }
        }
        document.truncate(document.trim_end().len());
        (document, places)
    }
}

impl Cursor {
    fn on(self, n: usize) -> Self {
        Self { at: self.at + n, ..self }
    }
}

fn space(text: &mut String) {
    if !text.is_empty() && !text.ends_with(char::is_whitespace) {
        text.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{haystack, words};

    fn filled(recipe: &Recipe, pieces: &[Piece]) -> Filled {
        haystack().fill(recipe, &mut Random::new("test", recipe.seed), pieces, &words).unwrap()
    }

    fn piece(text: &str, depth: f32) -> Piece {
        Piece { text: text.into(), depth }
    }

    #[test]
    fn documents_are_just_below_the_size_asked_for() {
        for tokens in [128, 1000, 7500] {
            let counted = words(&filled(&Recipe::new(tokens, 3, 0.0), &[piece("A fact.", 0.5)]).document);
            assert!((tokens - 12..=tokens).contains(&counted), "{counted} for {tokens}");
        }
    }

    #[test]
    fn pieces_lie_between_sentences_at_their_depth() {
        for depth in [0.0, 0.3, 0.99, 1.0] {
            let filled = filled(&Recipe::new(1000, 5, 0.0), &[piece("Late.", 1.0), piece("Here it is.", depth)]);
            let Filled { document, places, .. } = &filled;
            assert_eq!(&document[places[0].clone()], "Late.");
            assert!(document.ends_with("Late.") || depth == 1.0);
            let place = &places[1];
            assert_eq!(&document[place.clone()], "Here it is.");
            let before = document[..place.start].trim_end();
            assert!(before.is_empty() || before.ends_with('.'), "{before:?}");
            let reached = place.start as f32 / document.len() as f32;
            assert!((reached - depth).abs() < 0.02, "{reached} for {depth}");
        }
    }

    #[test]
    fn the_seed_draws_the_text_and_the_split_its_half() {
        let evaluation = Recipe::new(400, 1, 0.0);
        let calibration = Recipe { split: Split::Calibration, ..evaluation };
        let text = |recipe: &Recipe| filled(recipe, &[]).document;
        assert_eq!(text(&evaluation), text(&evaluation));
        assert_ne!(text(&evaluation), text(&Recipe { seed: 2, ..evaluation }));
        let whole = haystack();
        let middle = whole.starts[whole.starts.len() / 2];
        assert!(whole.text[..middle].contains(&text(&calibration)));
        assert!(whole.text[middle..].contains(&text(&evaluation)));
    }

    #[test]
    fn long_documents_begin_the_text_again() {
        let recipe = Recipe::new(20_000, 1, 0.0);
        assert!(words(&filled(&recipe, &[]).document) > 19_900);
    }

    #[test]
    fn the_text_goes_on_behind_the_document() {
        let haystack = haystack();
        let recipe = Recipe { split: Split::Calibration, ..Recipe::new(300, 4, 0.0) };
        let filled = haystack.fill(&recipe, &mut Random::new("test", 4), &[], &words).unwrap();
        let next = haystack.following(&filled, 30, &words);
        assert!((30..45).contains(&words(&next)));
        let at = haystack.text.find(&filled.document).unwrap() + filled.document.len();
        assert!(haystack.text[at..].trim_start().starts_with(&next));
    }

    #[test]
    fn what_cannot_be_filled_is_refused() {
        assert!(Haystack::new("One. Two.").unwrap_err().message.contains("has 2 sentences"));
        let recipe = Recipe::new(128, 0, 0.0);
        let long = piece(&"word ".repeat(200), 0.5);
        let error = haystack().fill(&recipe, &mut Random::new("", 0), &[long], &words).unwrap_err();
        assert_eq!(error.code, Code::InvalidArg);
    }
}
