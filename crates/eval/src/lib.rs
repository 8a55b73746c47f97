//! Evaluation: questions over long text, and what counts as an answer.

mod metrics;

pub use metrics::{Choice, Metric};
