use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;
use skimlm_core::{Code, Error, Result};

/// Where a line stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: PathBuf,
    /// From 1.
    pub(super) line: usize,
}

impl Place {
    pub(super) fn error(&self, what: impl std::fmt::Display) -> Error {
        let Self { file, line } = self;
        Error::new(Code::InvalidArg, format!("{}, line {line}: {what}. Download the file again.", file.display()))
            .with("file", file.display().to_string())
            .with("line", *line)
    }
}

pub(super) fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(Code::InvalidArg, format!("{} cannot be read: {error}. Check the path.", path.display()))
        .with("file", path.display().to_string())
        .caused_by(error)
}

/// The values of a file with one JSON object a line; empty lines are passed over.
pub(super) fn jsonl<T: DeserializeOwned>(path: &Path) -> Result<impl Iterator<Item = Result<(Place, T)>> + use<T>> {
    let lines = BufReader::new(File::open(path).map_err(|error| unreadable(path, error))?).lines();
    let file = path.to_owned();
    Ok(lines.enumerate().filter_map(move |(i, line)| {
        let place = Place { file: file.clone(), line: i + 1 };
        match line {
            Err(error) => Some(Err(place.error(error))),
            Ok(line) if line.trim().is_empty() => None,
            Ok(line) => Some(match serde_json::from_str(&line) {
                Ok(value) => Ok((place, value)),
                Err(error) => Err(place.error(error)),
            }),
        }
    }))
}

/// The name of a data set from the file's own.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A string, or a number as it is written.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
