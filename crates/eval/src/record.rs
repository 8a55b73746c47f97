use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Result};

use crate::{Case, Family};

/// What one policy made of one case; one JSON line.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The case's id.
    pub case: String,
    /// The case's task.
    pub task: String,
    /// The task's family; none for cases from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The case's length, in tokens.
    pub length: usize,
    /// Where the evidence lies, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<f32>,
    /// The policy's name in this run.
    pub policy: String,
    /// What was generated.
    #[serde(default)]
    pub answer: String,
    /// The metric's, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The share of the evidence that was kept, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// Mean negative log likelihood of the continuation's tokens, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// The share of the prompt's tokens that was kept, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<f64>,
    /// From the start to the first token, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    /// The passes over the prompt, those that only choose included, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_ms: Option<f64>,
    /// The most memory taken where the model runs, in bytes: by tensors on a GPU, by the process on the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// The tokens kept of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_tokens: Option<usize>,
    /// The tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: usize,
    /// Why there is no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Record {
    /// A record of this case under this policy, with nothing measured yet.
    pub fn of(case: &Case, family: Option<Family>, policy: &str) -> Self {
        Self {
            case: case.id.clone(),
            task: case.task.clone(),
            family,
            length: case.length,
            depth: case.depth,
            policy: policy.to_owned(),
            ..Self::default()
        }
    }

    /// The JSON line, with its line break. `ERR_NUMERICS` for NaN or infinity, which JSON would turn into nothing.
    pub fn line(&self) -> Result<String> {
        let Self { score, recall, loss, kept, ttft_ms, prefill_ms, .. } = *self;
        let numbers = [score, recall, loss, kept, ttft_ms, prefill_ms];
        if let Some(number) = numbers.into_iter().flatten().find(|number| !number.is_finite()) {
            let what = format!("A measurement of {} under {} is {number}.", self.case, self.policy);
            return Err(Error::new(Code::Numerics, what).with("case", self.case.as_str()));
        }
        let json = serde_json::to_string(self);
        json.map(|json| json + "\n")
            .map_err(|error| Error::new(Code::Internal, format!("A record is no JSON: {error}.")).caused_by(error))
    }
}

/// The records of a file. A last line without its line break was cut off when the run was stopped, and is left out;
/// a run that goes on writes over it from the number of bytes returned beside the records.
pub fn read_records(path: &Path) -> Result<(Vec<Record>, u64)> {
    let bad = |line: usize, what: &dyn std::fmt::Display| {
        let place = if line > 0 { format!("{}, line {line}", path.display()) } else { path.display().to_string() };
        Error::new(Code::InvalidArg, format!("{place}: {what}. Give a file that an evaluation has written."))
            .with("file", path.display().to_string())
            .with("line", line)
    };
    let text = fs::read_to_string(path).map_err(|error| bad(0, &error))?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let records = text[..whole]
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| serde_json::from_str(line).map_err(|error| bad(i + 1, &error)))
        .collect::<Result<_>>()?;
    Ok((records, whole as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            case: "needle-1024-d50-e1".into(),
            task: "needle".into(),
            family: Some(Family::Single),
            length: 1024,
            depth: Some(0.5),
            policy: "full".into(),
            answer: "a \"teapot\"\n".into(),
            score: Some(1.0),
            prompt_tokens: 1050,
            ..Record::default()
        }
    }

    #[test]
    fn lines_come_back_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        let line = record().line().unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        fs::write(&path, format!("{line}{line}{}", &line[..20])).unwrap();
        assert_eq!(read_records(&path).unwrap(), (vec![record(), record()], 2 * line.len() as u64));
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.jsonl");
        assert!(read_records(&path).is_err());
        fs::write(&path, format!("{}{{}}\n", record().line().unwrap())).unwrap();
        assert!(read_records(&path).unwrap_err().message.contains("records.jsonl, line 2: missing field"));
    }

    #[test]
    fn numbers_that_json_lacks_are_errors() {
        let record = Record { loss: Some(f64::NAN), ..record() };
        assert_eq!(record.line().unwrap_err().code, Code::Numerics);
    }
}
