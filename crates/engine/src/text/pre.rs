use skimlm_core::{Code, Error, Result};
use tokenizers::normalizers::{NormalizerWrapper, unicode::NFC};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior::Isolated;

/// The pre-tokenizers of GGUF files that can be built.
pub const PRE_TOKENIZERS: [&str; 4] = ["gpt-2", "llama-bpe", "qwen2", "smollm"];

/// How a text is cut before the merges.
#[derive(Debug)]
pub(crate) struct Pre {
    pub(crate) normalizer: Option<NormalizerWrapper>,
    pub(crate) split: PreTokenizerWrapper,
    /// A piece that is an entry of the vocabulary is taken whole.
    pub(crate) ignore_merges: bool,
    /// Whether these models begin with their BOS unless the file says otherwise.
    pub(crate) add_bos: bool,
}

impl Pre {
    /// The pre-tokenizer that a GGUF file names.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let plain = |split| Self { normalizer: None, split, ignore_merges: false, add_bos: false };
        Ok(match name {
            "gpt-2" => plain(ByteLevel::new(false, false, true).into()),
            "smollm" => {
                plain(Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, false, true).into()]).into())
            }
            "llama-bpe" => Self { ignore_merges: true, add_bos: true, ..plain(cut_by(r"\p{N}{1,3}")?) },
            "qwen2" => Self { normalizer: Some(NFC.into()), ..plain(cut_by(r"\p{N}")?) },
            _ => {
                return Err(Error::new(
                    Code::Tokenizer,
                    format!(
                        "The pre-tokenizer `{name}` is not supported; supported are {}. Give the model's \
                         tokenizer.json with the option `tokenizer`.",
                        PRE_TOKENIZERS.join(", ")
                    ),
                )
                .with("preTokenizer", name)
                .with("supported", PRE_TOKENIZERS.to_vec()));
            }
        })
    }
}

/// The split of the cl100k family; its members differ in how they cut numbers.
fn cut_by(numbers: &str) -> Result<PreTokenizerWrapper> {
    let pattern = format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    );
    let split = Split::new(SplitPattern::Regex(pattern), Isolated, false)
        .map_err(|e| Error::new(Code::Internal, format!("a built-in pattern does not compile: {e}")))?;
    Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, false, false).into()]).into())
}
