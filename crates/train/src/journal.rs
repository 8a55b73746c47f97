//! The log of a run: one JSON object a line.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Result};
use skimlm_engine::files;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Updates done.
    pub step: u64,
    /// Seconds of training, interruptions not counted.
    pub seconds: f64,
    /// Mean loss since the last line.
    pub loss: f64,
    /// Mean accuracy since the last line.
    pub accuracy: f64,
    /// Learning rate.
    pub rate: f64,
    /// Tokens read so far.
    pub tokens: u64,
    /// What else there is to say, such as the level of the task.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// The lines so far and where they are kept.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    lines: Vec<Line>,
}

impl Journal {
    /// A log that begins with some lines: those of the state that a run goes on from, or none.
    pub fn new(path: &Path, lines: Vec<Line>) -> Self {
        Self { path: path.into(), lines }
    }

    /// Adds a line; [`Journal::save`] writes it.
    pub fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// The lines so far.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Writes all lines.
    pub fn save(&self) -> Result<()> {
        let mut text = String::new();
        for line in &self.lines {
            let json = serde_json::to_string(line)
                .map_err(|e| Error::new(Code::Internal, format!("a line of the log cannot be written: {e}")))?;
            text.push_str(&json);
            text.push('\n');
        }
        files::write(&self.path, text.as_bytes())
    }
}
