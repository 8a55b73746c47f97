use std::borrow::Cow;
use std::ops::Range;

use skimlm_core::{Code, Error, Result};
use tokenizers::models::bpe::Merges;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::alphabet::Writing;
use super::bpe::{self, Habits, ends_an_answer, unique};
use super::pieces::{Piece, encode_pieces};
use super::sentencepiece::Prefix;
use super::special::{SpecialToken, Specials};
use super::utf16::{Cursor, ceil, floor};

/// What a tokenizer is built from, whichever file it came in.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) entries: Vec<(String, u32)>,
    pub(crate) writing: Writing,
    pub(crate) merges: Merges,
    pub(crate) habits: Habits,
    /// Not to be done by `normalizer` and `split` as well.
    pub(crate) prefix: Option<Prefix>,
    pub(crate) normalizer: Option<NormalizerWrapper>,
    pub(crate) split: Option<PreTokenizerWrapper>,
    pub(crate) specials: Vec<SpecialToken>,
    pub(crate) bos: Option<u32>,
    pub(crate) ends: Vec<u32>,
    pub(crate) add_bos: bool,
    /// Rows that the embedding may have beyond the vocabulary.
    pub(crate) padded_rows: usize,
    /// Ids stay below this, which is no more than the file has room for: what is made of ids grows with the largest.
    pub(crate) most_ids: usize,
}

/// For each token the UTF-16 code units `[start, end)` of the text that it comes from.
pub type Offsets = Vec<(u32, u32)>;

/// BPE, byte-level or as SentencePiece has it, with its special tokens.
///
/// Text is never parsed as special tokens unless that is asked for. User-defined tokens count as
/// special: they too would let a text pretend to be what it is not.
#[derive(Debug)]
pub struct Tokenizer {
    /// Knows no special tokens, so that plain text stays plain.
    plain: tokenizers::Tokenizer,
    prefix: Option<Prefix>,
    specials: Specials,
    /// The bytes of token `id` are `bytes[starts[id]..starts[id + 1]]`.
    bytes: Vec<u8>,
    starts: Vec<usize>,
    bos: Option<u32>,
    ends: Vec<u32>,
    add_bos: bool,
    padded_rows: usize,
}

impl Tokenizer {
    pub(crate) fn from_parts(parts: Parts) -> Result<Self> {
        let Parts { entries, writing, merges, habits, prefix, normalizer, split, specials, .. } = parts;
        let Parts { bos, ends, add_bos, padded_rows, most_ids, .. } = parts;
        let mut texts = Vec::new();
        for (text, id) in &entries {
            put(&mut texts, *id, writing.bytes_of(text), most_ids)?;
        }
        for token in &specials {
            put(&mut texts, token.id, token.text.as_bytes().to_vec(), most_ids)?;
        }
        for id in bos.iter().chain(&ends) {
            if *id as usize >= texts.len() {
                return Err(bpe::damaged(format!("it names token {id} and has {} tokens", texts.len())));
            }
        }
        let mut starts = Vec::with_capacity(texts.len() + 1);
        let mut bytes = Vec::new();
        starts.push(0);
        for text in texts {
            bytes.extend(text.unwrap_or_default());
            starts.push(bytes.len());
        }

        let specials = Specials::new(specials)?;
        let named = specials.iter().filter(|token| ends_an_answer(&token.text)).map(|token| token.id);
        let ends = unique(ends.into_iter().chain(named));
        let mut plain = tokenizers::Tokenizer::new(bpe::build(entries, merges, habits)?);
        plain.with_pre_tokenizer(split);
        plain.with_normalizer(normalizer).map_err(|e| bpe::damaged(format!("its normalizer cannot be used: {e}")))?;
        Ok(Self { plain, prefix, specials, bytes, starts, bos, ends, add_bos, padded_rows })
    }

    /// The token ids of a text, without BOS. `special`: the text of a special token becomes that
    /// token. `ERR_TOKENIZER` where the vocabulary cannot write it.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        if special {
            let placed = encode_pieces(self, &[Piece::template(text)])?;
            return Ok(placed.into_iter().map(|token| token.id).collect());
        }
        let text = self.prefixed(text, true);
        Ok(self.plain.encode_fast(&*text, false).map_err(failed)?.get_ids().to_vec())
    }

    /// The token ids of a text and, for each, the range of UTF-16 code units that it comes from.
    ///
    /// Ranges hold whole characters: every token of a character that is spread over several has
    /// the range of that character. The text is not parsed as special tokens. Errors as in
    /// [`Tokenizer::encode`].
    pub fn encode_with_offsets(&self, text: &str) -> Result<(Vec<u32>, Offsets)> {
        let (ids, ranges): (Vec<u32>, Vec<Range<usize>>) = self.encode_plain(text, true)?.into_iter().unzip();
        let (mut starts, mut ends) = (Cursor::new(text), Cursor::new(text));
        Ok((ids, ranges.into_iter().map(|range| (starts.at(range.start), ends.at(range.end))).collect()))
    }

    fn prefixed<'t>(&self, text: &'t str, first: bool) -> Cow<'t, str> {
        match self.prefix {
            Some(prefix) if prefix.applies(text, first) => format!(" {text}").into(),
            _ => text.into(),
        }
    }

    /// Plain text to token ids and byte ranges of whole characters, without holes between them. A
    /// token that is nothing but the space put before the text has an empty range. `first`: no special
    /// token is before the text.
    pub(crate) fn encode_plain(&self, text: &str, first: bool) -> Result<Vec<(u32, Range<usize>)>> {
        let prefixed = self.prefixed(text, first);
        let shift = prefixed.len() - text.len();
        let encoding = self.plain.encode(&*prefixed, false).map_err(failed)?;
        let offsets = encoding.get_offsets().iter();
        let mut tokens: Vec<(u32, Range<usize>)> = encoding
            .get_ids()
            .iter()
            .zip(offsets)
            .map(|(&id, &(start, end))| {
                (id, floor(text, start.saturating_sub(shift))..ceil(text, end.saturating_sub(shift)))
            })
            .collect();
        // A normalizer may join characters and give the range of the first of them only. What is
        // between two tokens goes to the first, and to all that share its last character.
        let (mut next_start, mut next_end) = (text.len(), (usize::MAX, usize::MAX));
        for (_, range) in tokens.iter_mut().rev() {
            let end = if range.end == next_end.0 { next_end.1 } else { range.end.max(next_start) };
            (next_start, next_end) = (range.start, (range.end, end));
            range.end = end;
        }
        if let Some((_, first)) = tokens.first_mut() {
            first.start = 0;
        }
        Ok(tokens)
    }

    /// The text of token ids. `skip_special` leaves control tokens out. Bytes that are no UTF-8
    /// become U+FFFD, and the space that encoding puts before a text is left out. An id beyond the
    /// vocabulary is `ERR_INVALID_ARG`.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let (mut bytes, mut first) = (Vec::new(), true);
        for &id in ids {
            self.check_id("ids", id)?;
            bytes.extend_from_slice(self.written(id, skip_special, &mut first));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The bytes that a token adds to a text. `first`: whether the text begins with it, and then whether
    /// one begins behind it.
    pub(crate) fn written(&self, id: u32, skip_special: bool, first: &mut bool) -> &[u8] {
        let bytes = self.token_bytes(id);
        let special = self.specials.get(id);
        let begins = std::mem::replace(first, special.is_some() && self.prefix.is_some_and(|p| p.everywhere));
        match special {
            Some(token) if token.control && skip_special => &[],
            None if begins && self.prefix.is_some() => bytes.strip_prefix(b" ").unwrap_or(bytes),
            _ => bytes,
        }
    }

    /// The text of one token, with U+FFFD for parts of characters; empty beyond the vocabulary.
    pub fn token_text(&self, id: u32) -> String {
        String::from_utf8_lossy(self.token_bytes(id)).into_owned()
    }

    /// The bytes of one token; none beyond the vocabulary.
    pub(crate) fn token_bytes(&self, id: u32) -> &[u8] {
        match self.starts.get(id as usize..) {
            Some(&[start, end, ..]) => &self.bytes[start..end],
            _ => &[],
        }
    }

    /// All tokens that end an answer: those that the model names and those known by their text.
    pub fn end_tokens(&self) -> &[u32] {
        &self.ends
    }

    /// The token that texts begin with, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that raw text is to begin with, if any.
    pub fn leading_bos(&self) -> Option<u32> {
        self.bos.filter(|_| self.add_bos)
    }

    /// Number of token ids.
    pub fn vocab_size(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn specials(&self) -> &Specials {
        &self.specials
    }

    /// `ERR_TOKENIZER` unless the vocabulary belongs to an embedding of `rows` rows. GGUF files
    /// pad their vocabulary to the rows; a tokenizer.json may be up to 1024 short of them.
    pub fn check_rows(&self, rows: usize) -> Result<()> {
        let tokens = self.vocab_size();
        if tokens <= rows && rows - tokens <= self.padded_rows {
            return Ok(());
        }
        Err(Error::new(
            Code::Tokenizer,
            format!(
                "The tokenizer has {tokens} tokens and the model's embedding {rows} rows, so they do not belong \
                 together. Give the model's own tokenizer.json with the option `tokenizer`."
            ),
        )
        .with("tokens", tokens)
        .with("rows", rows))
    }

    /// `ERR_INVALID_ARG` for an id beyond the vocabulary.
    pub(crate) fn check_id(&self, option: &str, id: u32) -> Result<()> {
        if (id as usize) < self.vocab_size() {
            return Ok(());
        }
        Err(Error::invalid_option(option, id, format!("token ids below {}", self.vocab_size())))
    }
}

fn put(texts: &mut Vec<Option<Vec<u8>>>, id: u32, bytes: Vec<u8>, most_ids: usize) -> Result<()> {
    let id = id as usize;
    if id >= most_ids {
        return Err(bpe::damaged(format!("it names token {id} and has room for {most_ids}")));
    }
    if texts.len() <= id {
        texts.resize(id + 1, None);
    }
    texts[id] = Some(bytes);
    Ok(())
}

fn failed(error: tokenizers::Error) -> Error {
    Error::new(
        Code::Tokenizer,
        format!("The text cannot be tokenized: {error}. Check the tokenizer that the model came with."),
    )
}

#[cfg(test)]
mod tests;
