use std::collections::HashSet;

use skimlm_core::{Code, Error, Result};
use tokenizers::models::bpe::{BPE, Merges, Vocab};

/// What is beside the merges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Habits {
    /// A piece that is an entry of the vocabulary is taken whole.
    pub(crate) ignore_merges: bool,
    /// A character without an entry becomes its bytes, one `<0x..>` each.
    pub(crate) byte_fallback: bool,
    /// What becomes of a character without either.
    pub(crate) unknown: Option<String>,
    /// Several unknown characters in a row are one.
    pub(crate) fuse_unknown: bool,
}

/// Builds the merges. `entries` are the vocabulary, each with its id; of equal ones the first counts.
pub(crate) fn build(entries: Vec<(String, u32)>, merges: Merges, habits: Habits) -> Result<BPE> {
    let mut vocab = Vocab::with_capacity(entries.len());
    for (text, id) in entries {
        vocab.entry(text).or_insert(id);
    }
    // The crate takes it for granted that merges stay within the vocabulary.
    let mut joined = String::new();
    for (left, right) in &merges {
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if let Some(missing) = [left, right, &joined].into_iter().find(|text| !vocab.contains_key(*text)) {
            return Err(damaged(format!("the merge of `{left}` and `{right}` needs `{missing}`, which is no token")));
        }
    }
    let Habits { ignore_merges, byte_fallback, unknown, fuse_unknown } = habits;
    if let Some(unknown) = unknown.as_ref().filter(|unknown| !vocab.contains_key(*unknown)) {
        return Err(damaged(format!("`{unknown}` stands for what is unknown and is no token")));
    }
    let mut builder = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(ignore_merges)
        .byte_fallback(byte_fallback)
        .fuse_unk(fuse_unknown);
    if let Some(unknown) = unknown {
        builder = builder.unk_token(unknown);
    }
    builder.build().map_err(|e| damaged(format!("the merges cannot be built: {e}")))
}

/// `left right` as GGUF files and older tokenizer.json files write a merge.
pub(crate) fn merge(line: &str) -> Result<(String, String)> {
    match line.split_once(' ') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() && !right.contains(' ') => {
            Ok((left.into(), right.into()))
        }
        _ => Err(damaged(format!("`{line}` is not a merge, which is two tokens and a space between them"))),
    }
}

/// The names by which models call the tokens that end an answer.
pub(crate) fn ends_an_answer(text: &str) -> bool {
    matches!(
        text,
        "<|im_end|>"
            | "<|endoftext|>"
            | "<|end_of_text|>"
            | "<|end|>"
            | "<|eot_id|>"
            | "<|eom_id|>"
            | "<|return|>"
            | "<|call|>"
            | "<|flush|>"
            | "<|calls|>"
            | "<|end_of_turn|>"
            | "<|END_OF_TURN_TOKEN|>"
            | "<end_of_turn>"
            | "<end_of_utterance>"
            | "<eos>"
            | "</s>"
            | "<EOT>"
            | "_<EOT>"
            | "< EOT >"
            | "[EOT]"
            | "[EOS]"
    )
}

/// Ids in order, each once.
pub(crate) fn unique(ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut seen = HashSet::new();
    ids.into_iter().filter(|id| seen.insert(*id)).collect()
}

pub(crate) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::new(
        Code::Tokenizer,
        format!(
            "The tokenizer is damaged: {what}. Fetch the model again or give its tokenizer.json with the option `tokenizer`."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_is_two_tokens_and_a_space() {
        assert_eq!(merge("th e").unwrap(), ("th".into(), "e".into()));
        for bad in ["the", "th e r", " e", "th ", ""] {
            assert!(merge(bad).is_err_and(|error| error.message.contains("not a merge")), "{bad:?}");
        }
    }
}
