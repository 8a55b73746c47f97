//! Text to tokens and back: tokenizer, chat template, prompt, streaming and stop strings.

mod alphabet;
mod assemble;
mod bpe;
mod chat;
mod decode_stream;
mod gguf_vocab;
mod json_vocab;
mod mark;
mod named;
mod pieces;
mod pre;
mod prompt;
mod sentencepiece;
mod sentences;
mod special;
mod splice;
mod stop;
mod tokenizer;
mod utf16;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod testing;

use std::path::Path;

use skimlm_core::{Code, Error};
use skimlm_models::Source as Files;

pub use assemble::{Assembled, Origin, QUESTION_TOKENS, Source, assemble};
pub use chat::{ChatTemplate, no_template};
pub use decode_stream::DecodeStream;
pub use gguf_vocab::GgufVocab;
pub use json_vocab::Declared;
pub use named::named_tokens;
pub use pre::pre_tokenizers;
pub use prompt::{ChatMessage, ChatRole, Prompt};
pub use stop::{MAX_STOP_BYTES, MAX_STOP_STRINGS, StopMatcher, Stopped};
pub use tokenizer::{Offsets, Tokenizer};

/// Why the tokenizer of a model cannot be built, as far as the names in its header tell; none: it can.
pub(crate) fn refusal(files: &Files) -> Option<Error> {
    match files {
        Files::Gguf(gguf) => gguf_vocab::refusal(gguf).err(),
        Files::Folder(folder) => match folder.words() {
            Ok(words) => words.tokenizer.is_none().then(|| no_json(folder.path())),
            Err(error) => Some(error),
        },
    }
}

/// `ERR_TOKENIZER` for a folder without a tokenizer.json.
pub(crate) fn no_json(folder: &Path) -> Error {
    let path = folder.display().to_string();
    let what = format!("The folder {path} has no tokenizer.json; name one with the option `tokenizer`.");
    Error::new(Code::Tokenizer, what).with("path", path)
}
