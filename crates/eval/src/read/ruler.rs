use std::path::Path;

use serde::Deserialize;
use skimlm_core::Result;

use super::jsonl::{jsonl, stem};
use crate::{Case, Choice, Metric, Raw, sentences};

#[derive(Debug, Deserialize)]
struct Line {
    input: String,
    outputs: Vec<String>,
    #[serde(default)]
    length: usize,
    index: Option<usize>,
    #[serde(default)]
    answer_prefix: String,
}

/// The cases of one file that RULER's scripts wrote (Hsieh et al. 2024, arXiv 2404.06654).
///
/// The folder names the task (`niah_single_2/validation.jsonl`), or a file of another name itself. The input's last
/// line is the question. The evidence of retrieval tasks is every sentence with one of the values.
pub fn ruler(path: &Path) -> Result<impl Iterator<Item = Result<Case>> + use<>> {
    let mut task = stem(path);
    if let ("validation" | "test", Some(folder)) = (task.as_str(), path.parent().and_then(Path::file_name)) {
        task = folder.to_string_lossy().into_owned();
    }
    Ok(jsonl::<Line>(path)?.map(move |line| {
        let (place, line) = line?;
        if line.outputs.is_empty() {
            return Err(place.error("outputs is empty"));
        }
        let (document, question) = line.input.trim_end().rsplit_once('\n').unwrap_or((&line.input, ""));
        let retrieval = task.starts_with("niah");
        let held = |text: &str| line.outputs.iter().any(|value| text.contains(value.as_str()));
        let mut evidence = sentences(document);
        evidence.retain(|span| retrieval && held(&document[span.clone()]));
        let max_new_tokens = match &task {
            task if task.starts_with("niah") => 128,
            task if task.starts_with("vt") || task.starts_with("variable") => 30,
            task if task.starts_with("cwe") || task.starts_with("common") => 120,
            task if task.starts_with("fwe") || task.starts_with("freq") => 50,
            _ => 32,
        };
        // A line has the tokens of its own sample; what was asked for is the power of two that they nearly fill.
        let asked = line.length.checked_next_power_of_two().filter(|_| line.length > 0);
        let length = asked.unwrap_or(line.length);
        Ok(Case {
            // The index counts from 0 in the file of every length.
            id: format!("{task}-{length}-{}", line.index.unwrap_or(place.line)),
            question: question.trim().to_owned(),
            metric: Metric::Contains(if task.starts_with("qa") { Choice::Any } else { Choice::Share }),
            evidence,
            length,
            depth: None,
            max_new_tokens,
            continuation: None,
            raw: Some(Raw {
                before: String::new(),
                after: format!("{}{}", &line.input[document.len()..], line.answer_prefix),
            }),
            document: document.to_owned(),
            task: task.clone(),
            answers: line.outputs,
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_names_the_task_and_the_last_line_asks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("niah_multivalue").join("validation.jsonl");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let line = concat!(
            r#"{"index": 4, "input": "Memorize.\nIt rained. The number for x is: 71. So it went. "#,
            r#"The number for x is: 95.\nWhat are the numbers for x?", "outputs": ["71", "95"], "length": 40, "#,
            r#""answer_prefix": " They are"}"#
        );
        std::fs::write(&path, format!("{line}\n{{\"input\": \"a\", \"outputs\": []}}\n")).unwrap();
        let mut cases: Vec<_> = ruler(&path).unwrap().collect();
        assert!(cases.pop().unwrap().unwrap_err().message.contains("line 2: outputs is empty"));
        let case = cases.pop().unwrap().unwrap();
        assert_eq!((case.task.as_str(), case.id.as_str()), ("niah_multivalue", "niah_multivalue-64-4"));
        assert_eq!(case.question, "What are the numbers for x?");
        assert_eq!(case.raw.as_ref().unwrap().after, "\nWhat are the numbers for x? They are");
        let evidence: Vec<_> = case.evidence.iter().map(|span| &case.document[span.clone()]).collect();
        assert_eq!(evidence, ["The number for x is: 71.", "The number for x is: 95."]);
        assert_eq!(case.metric.score("71 and 9", &case.answers), Some(0.5));
    }

    #[test]
    fn a_file_is_one_length_and_files_of_other_lengths_have_other_ids() {
        let folder = tempfile::tempdir().unwrap();
        let read = |length: usize| -> Vec<(String, usize)> {
            let path = folder.path().join("vt.jsonl");
            let line =
                |i: usize| format!(r#"{{"index": {i}, "input": "a", "outputs": ["b"], "length": {}}}"#, length - 9 * i);
            std::fs::write(&path, [0usize, 1].map(line).join("\n")).unwrap();
            ruler(&path).unwrap().map(Result::unwrap).map(|case| (case.id, case.length)).collect()
        };
        assert_eq!(read(4090), [("vt-4096-0".into(), 4096), ("vt-4096-1".into(), 4096)]);
        assert_eq!(read(8192), [("vt-8192-0".into(), 8192), ("vt-8192-1".into(), 8192)]);
    }

    #[test]
    fn one_line_is_all_document() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qa_1.jsonl");
        std::fs::write(&path, r#"{"input": "All in one.", "outputs": ["one", "1"]}"#).unwrap();
        let case = ruler(&path).unwrap().next().unwrap().unwrap();
        assert_eq!((case.document.as_str(), case.question.as_str()), ("All in one.", ""));
        assert_eq!(case.metric, Metric::Contains(Choice::Any));
    }
}
