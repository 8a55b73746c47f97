//! SentencePiece vocabularies (Llama 2, Mistral 7B, Phi 3, Gemma) as BPE.
//!
//! SentencePiece joins, as often as it can, the two neighbours whose joint piece has the best score. That
//! is BPE whose merges are all the ways to join two pieces into a third, ordered by that one's score.

use std::cmp::Reverse;
use std::collections::HashMap;

use skimlm_core::Result;
use tokenizers::models::bpe::Merges;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::normalizers::replace::Replace;

use super::alphabet::SPACE;
use super::bpe::damaged;

/// The space that is put before a text, and taken away when its tokens become text again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Behind every special token too, not at the beginning alone.
    pub(crate) everywhere: bool,
    /// Not where the text begins with a space of its own.
    pub(crate) unless_spaced: bool,
}

impl Prefix {
    /// Whether a text gets it. `first`: no special token is before it.
    pub(crate) fn applies(self, text: &str, first: bool) -> bool {
        let spaced = self.unless_spaced && text.starts_with([' ', SPACE]);
        !text.is_empty() && (first || self.everywhere) && !spaced
    }
}

/// The merges of pieces with their scores: the best first; of those with one result, the longest left
/// half first. A longer text than any real piece is joined from nothing.
pub(crate) fn merges(pieces: &[(&str, f32)]) -> Merges {
    let known: HashMap<&str, f32> = pieces.iter().copied().collect();
    let mut found: Vec<(f32, Reverse<usize>, &str, &str)> = Vec::new();
    for &(piece, score) in pieces.iter().filter(|(piece, _)| piece.len() <= LONGEST) {
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if known.contains_key(left) && known.contains_key(right) {
                found.push((score, Reverse(at), left, right));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    found.into_iter().map(|(_, _, left, right)| (left.into(), right.into())).collect()
}

/// Bytes of the longest piece that is joined; a damaged file may claim one of megabytes.
const LONGEST: usize = 1024;

/// Writes spaces as the vocabulary does.
pub(crate) fn normalizer() -> Result<NormalizerWrapper> {
    let replace = Replace::new(" ", SPACE.to_string());
    replace.map(Into::into).map_err(|e| damaged(format!("its spaces cannot be replaced: {e}")))
}

#[cfg(test)]
mod tests;
