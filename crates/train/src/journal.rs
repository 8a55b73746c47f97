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
    /// Starts a log.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), lines: Vec::new() }
    }

    /// Goes on with a log as it was after `step` updates. `ERR_MODEL_CORRUPT` if it cannot be read.
    pub fn resume(path: &Path, step: u64) -> Result<Self> {
        let bytes = files::read(path)?;
        let mut lines = Vec::new();
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let line: Line = serde_json::from_str(line).map_err(|e| {
                let what = format!("line {} of {} is no line of a log: {e}. Remove it.", number + 1, path.display());
                Error::new(Code::ModelCorrupt, what).with("path", path.display().to_string())
            })?;
            lines.push(line);
        }
        lines.retain(|line| line.step <= step);
        Ok(Self { path: path.into(), lines })
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
