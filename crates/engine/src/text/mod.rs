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
mod special;
mod splice;
mod stop;
mod tokenizer;
mod utf16;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod testing;

pub use assemble::{Assembled, Origin, QUESTION_TOKENS, Source, assemble};
pub use chat::ChatTemplate;
pub use decode_stream::DecodeStream;
pub use gguf_vocab::GgufVocab;
pub use json_vocab::Declared;
pub use named::named_tokens;
pub use pre::PRE_TOKENIZERS;
pub use prompt::{ChatMessage, ChatRole, Prompt};
pub use stop::{MAX_STOP_BYTES, MAX_STOP_STRINGS, StopMatcher, Stopped};
pub use tokenizer::{Offsets, Tokenizer};
