use skimlm_core::{Code, Error, Result};
use tokenizers::normalizers::{NormalizerWrapper, unicode::NFC};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior::Isolated;

use Cut::*;

/// Names of pre-tokenizers in GGUF files, and how each cuts. Several are one cut: converters name them
/// after the model that had it first.
const NAMES: &[(&str, Cut)] = &[
    ("default", Default),
    ("gpt-2", Gpt2),
    ("phi-2", Gpt2),
    ("mpt", Gpt2),
    ("olmo", Gpt2),
    ("jais", Gpt2),
    ("exaone4", Gpt2),
    ("trillion", Gpt2),
    ("granite-docling", Gpt2),
    ("smollm", Digitwise),
    ("starcoder", Digitwise),
    ("refact", Digitwise),
    ("command-r", Digitwise),
    ("codeshell", Digitwise),
    ("exaone", Digitwise),
    ("minerva-7b", Digitwise),
    ("llama-bpe", Llama3),
    ("llama3", Llama3),
    ("llama-v3", Llama3),
    ("falcon3", Llama3),
    ("falcon-h1", Llama3),
    ("pixtral", Llama3),
    ("midm-2.0", Llama3),
    ("lfm2", Llama3),
    ("dbrx", Cl100k),
    ("smaug-bpe", Cl100k),
    ("qwen2", Qwen2),
    ("deepseek-r1-qwen", Qwen2),
    ("kormo", Qwen2),
    ("megrez", Qwen2),
    ("tekken", Tekken),
    ("gpt-4o", O200k),
    ("llama4", O200k),
    ("deepseek-coder", DeepSeekCoder),
    ("deepseek-v3", DeepSeek3),
    ("hunyuan-dense", DeepSeek3),
];

/// How a text is cut before the merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Files that state none; best effort of their time.
    Default,
    Gpt2,
    /// GPT-2, every digit on its own.
    Digitwise,
    /// cl100k with BOS, whole entries first.
    Llama3,
    Cl100k,
    /// cl100k with single digits, composed characters.
    Qwen2,
    Tekken,
    O200k,
    DeepSeekCoder,
    DeepSeek3,
}

/// What a cut is made of.
#[derive(Debug)]
pub(crate) struct Pre {
    pub(crate) normalizer: Option<NormalizerWrapper>,
    pub(crate) split: PreTokenizerWrapper,
    /// A piece that is an entry of the vocabulary is taken whole.
    pub(crate) ignore_merges: bool,
    /// Whether these models begin with their BOS unless the file says otherwise.
    pub(crate) add_bos: bool,
}

/// The pre-tokenizers of GGUF files that can be built, by name.
pub fn pre_tokenizers() -> Vec<&'static str> {
    NAMES.iter().map(|(name, _)| *name).collect()
}

impl Pre {
    /// Whether there is a pre-tokenizer of this name.
    pub(crate) fn check(name: &str) -> Result<()> {
        Cut::named(name).map(|_| ())
    }

    /// The pre-tokenizer that a GGUF file names.
    pub(crate) fn named(name: &str) -> Result<Self> {
        let cut = Cut::named(name)?;
        Ok(Self {
            normalizer: (cut == Qwen2).then(|| NFC.into()),
            split: cut.split()?,
            ignore_merges: matches!(cut, Llama3 | Tekken),
            add_bos: matches!(cut, Llama3 | Tekken),
        })
    }
}

impl Cut {
    fn named(name: &str) -> Result<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, cut)| *cut).ok_or_else(|| {
            let supported = pre_tokenizers();
            Error::new(
                Code::Tokenizer,
                format!(
                    "The pre-tokenizer `{name}` is not supported; supported are {}. Give the model's tokenizer.json \
                     with the option `tokenizer`.",
                    supported.join(", ")
                ),
            )
            .with("preTokenizer", name)
            .with("supported", supported)
        })
    }

    fn split(self) -> Result<PreTokenizerWrapper> {
        let gpt2 = || ByteLevel::new(false, false, true).into();
        Ok(match self {
            Gpt2 => gpt2(),
            Digitwise => Sequence::new(vec![Digits::new(true).into(), gpt2()]).into(),
            Default => cut(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"])?,
            Llama3 | Cl100k => cut(&[&cl100k(r"\p{N}{1,3}")])?,
            Qwen2 => cut(&[&cl100k(r"\p{N}")])?,
            Tekken => cut(&[&o200k("", r"\p{N}")])?,
            O200k => cut(&[&o200k("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}")])?,
            DeepSeekCoder => cut(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"])?,
            DeepSeek3 => cut(&[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3])?,
        })
    }
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// The cl100k family; its members differ in how they cut numbers.
fn cl100k(numbers: &str) -> String {
    format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
}

/// The o200k family cuts before capitals; its members differ in what may end a word and in numbers.
fn o200k(ending: &str, numbers: &str) -> String {
    let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
    format!(
        r"[^\r\n\p{{L}}\p{{N}}]?{upper}*{lower}+{ending}|[^\r\n\p{{L}}\p{{N}}]?{upper}+{lower}*{ending}|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
}

/// One cut after the other, each within the pieces of those before it; then bytes.
fn cut(patterns: &[&str]) -> Result<PreTokenizerWrapper> {
    let mut parts = Vec::with_capacity(patterns.len() + 1);
    for pattern in patterns {
        let split = Split::new(SplitPattern::Regex((*pattern).into()), Isolated, false)
            .map_err(|e| Error::new(Code::Internal, format!("a built-in pattern does not compile: {e}")))?;
        parts.push(split.into());
    }
    parts.push(ByteLevel::new(false, false, false).into());
    Ok(Sequence::new(parts).into())
}
