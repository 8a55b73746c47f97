//! Cases from the published benchmarks' files, as they are downloaded.
//!
//! Readers stream; a malformed line is an error that names file and line, and the lines after it are still read. The
//! benchmarks' prompts stay in their own files: give them as [`Templates`] and the cases carry [`crate::Raw`] prompts;
//! without them a question in plain words is asked. The papers' loops generate one token more than the limits say.

mod cut;
mod infinitebench;
mod jsonl;
mod longbench;
mod needle;
mod ruler;
mod templates;

pub use cut::cut_middle;
pub use infinitebench::infinitebench;
pub use longbench::longbench;
pub use needle::NeedleTest;
pub use ruler::ruler;
pub use templates::Templates;

use skimlm_core::Result;

/// A tokenizer, where a protocol works on tokens.
pub trait Tokens {
    /// Adds no special tokens, and reads those that stand in the text.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;
    /// Writes special tokens out.
    fn decode(&self, ids: &[u32]) -> Result<String>;
}
