//! Evaluation: questions over long text, what counts as an answer, and what the numbers say.
//!
//! A [`Task`] makes a [`Case`] from a [`Recipe`] and a [`Haystack`] of real text; [`read`] takes cases from the
//! published benchmarks' files. [`Metric::score`] judges an answer and [`evidence_recall`] a selection. A run leaves
//! one [`Record`] per case and policy; [`Summary`] and the reports are made from records alone, so that they can be
//! made again. [`run`] and [`calibrate`] are the only parts that know a model.

mod bm25;
pub mod calibrate;
mod case;
mod fit;
mod haystack;
mod metrics;
mod random;
pub mod read;
mod recall;
mod record;
pub mod report;
pub mod run;
mod sentences;
pub mod stats;
mod summary;
mod tasks;
#[cfg(test)]
mod testing;

pub use bm25::bm25;
pub use case::{Case, Count, Raw, Recipe, Split};
pub use haystack::Haystack;
pub use metrics::{Choice, Metric};
pub use recall::evidence_recall;
pub use record::{Record, read_records};
pub use sentences::sentences;
pub use summary::{Cell, Summary};
pub use tasks::{Family, Task, task, tasks};
