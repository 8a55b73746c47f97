//! Evaluation: questions over long text, and what counts as an answer.

mod bm25;
mod case;
mod fit;
mod haystack;
mod metrics;
mod random;
pub mod read;
mod recall;
mod sentences;
mod tasks;
#[cfg(test)]
mod testing;

pub use bm25::bm25;
pub use case::{Case, Count, Raw, Recipe, Split};
pub use haystack::Haystack;
pub use metrics::{Choice, Metric};
pub use recall::evidence_recall;
pub use sentences::sentences;
pub use tasks::{Family, Task, task, tasks};
