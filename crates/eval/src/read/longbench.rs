use std::path::Path;

use serde::Deserialize;
use skimlm_core::Result;

use super::Templates;
use super::jsonl::{jsonl, stem};
use crate::{Case, Metric};

#[derive(Debug, Deserialize)]
struct Line {
    input: String,
    context: String,
    answers: Vec<String>,
    dataset: Option<String>,
    all_classes: Option<Vec<String>>,
    #[serde(rename = "_id")]
    id: Option<String>,
}

#[derive(Clone, Copy)]
enum Rule {
    F1,
    RougeL,
    FirstRougeL,
    FirstF1,
    FirstClass,
    Count,
    Retrieval,
}

const ASK: &str = "{input}";

/// Data set, tokens of an answer, rule, and the question in plain words.
const DATASETS: [(&str, usize, Rule, &str); 14] = [
    ("narrativeqa", 128, Rule::F1, ASK),
    ("qasper", 128, Rule::F1, ASK),
    ("multifieldqa_en", 64, Rule::F1, ASK),
    ("hotpotqa", 32, Rule::F1, ASK),
    ("2wikimqa", 32, Rule::F1, ASK),
    ("musique", 32, Rule::F1, ASK),
    ("gov_report", 512, Rule::RougeL, "Write a one-page summary of the report above."),
    ("qmsum", 512, Rule::RougeL, ASK),
    ("multi_news", 512, Rule::RougeL, "Write a one-page summary of all the news above."),
    ("trec", 64, Rule::FirstClass, ASK),
    ("triviaqa", 32, Rule::FirstF1, ASK),
    ("samsum", 128, Rule::FirstRougeL, ASK),
    (
        "passage_count",
        32,
        Rule::Count,
        "Some paragraphs above are repeated. How many different ones are there? Answer with the number alone.",
    ),
    (
        "passage_retrieval_en",
        32,
        Rule::Retrieval,
        "Which paragraph above does this summary describe? Answer with \"Paragraph\" and its number.\n\n{input}",
    ),
];

/// The cases of one LongBench file (Bai et al. 2023, arXiv 2308.14508), `qasper.jsonl` or `qasper_e.jsonl`.
///
/// The fourteen English tasks without code are read, those of the papers compared with.
pub fn longbench<'a>(
    path: &Path,
    templates: Option<&'a Templates>,
) -> Result<impl Iterator<Item = Result<Case>> + use<'a>> {
    let stem = stem(path);
    Ok(jsonl::<Line>(path)?.map(move |line| {
        let (place, line) = line?;
        let name = line.dataset.as_deref().unwrap_or(&stem);
        let name = name.strip_suffix("_e").unwrap_or(name);
        let Some(&(name, max_new_tokens, rule, ask)) = DATASETS.iter().find(|(known, ..)| *known == name) else {
            let known = DATASETS.map(|(known, ..)| known).join(", ");
            return Err(place.error(format!("the data set {name:?} is not among {known}")));
        };
        let classes = line.all_classes.unwrap_or_default();
        if matches!(rule, Rule::FirstClass) && classes.is_empty() {
            return Err(place.error("all_classes is empty"));
        }
        let raw = templates.map_or(Ok(None), |templates| templates.raw(name, &[("input", &line.input)]))?;
        Ok(Case {
            task: name.to_owned(),
            id: format!("{name}-{}", line.id.unwrap_or_else(|| place.line.to_string())),
            document: line.context,
            question: ask.replace("{input}", &line.input),
            answers: line.answers,
            metric: rule.metric(classes),
            evidence: Vec::new(),
            // The file states the words of each text, and no length was asked for.
            length: 0,
            depth: None,
            max_new_tokens,
            continuation: None,
            raw,
        })
    }))
}

impl Rule {
    fn metric(self, classes: Vec<String>) -> Metric {
        let first = |metric| Metric::FirstLine(Box::new(metric));
        match self {
            Self::F1 => Metric::F1,
            Self::RougeL => Metric::RougeL,
            Self::FirstRougeL => first(Metric::RougeL),
            Self::FirstF1 => first(Metric::F1),
            Self::FirstClass => first(Metric::Class(classes)),
            Self::Count => Metric::Count,
            Self::Retrieval => Metric::Retrieval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Record, Summary};

    fn read(name: &str, text: &str) -> Vec<Result<Case>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        longbench(&path, None).unwrap().collect()
    }

    #[test]
    fn lines_become_cases() {
        let text = concat!(
            r#"{"input": "Who?", "context": "It was Ann.", "answers": ["Ann"], "length": 3, "dataset": "qasper_e", "_id": "x1"}"#,
            "\n\n",
            r#"{"input": "Question: ?\nType:", "context": "c", "answers": ["Date"], "length": 1, "dataset": "trec", "all_classes": ["Date", "Number"]}"#,
        );
        let cases: Vec<Case> = read("any.jsonl", text).into_iter().map(Result::unwrap).collect();
        assert_eq!(
            (cases[0].task.as_str(), cases[0].id.as_str(), cases[0].max_new_tokens),
            ("qasper", "qasper-x1", 128)
        );
        assert_eq!((cases[0].question.as_str(), cases[0].length, &cases[0].metric), ("Who?", 0, &Metric::F1));
        assert_eq!(cases[1].id, "trec-3");
        assert_eq!(cases[1].metric.score("Date\nNumber", &cases[1].answers), Some(1.0));
    }

    #[test]
    fn the_cases_of_a_file_are_one_group_however_long_they_are() {
        let line = |i: usize| {
            let of = format!(
                r#""context": "c", "answers": ["a"], "length": {}, "dataset": "qasper", "_id": "x{i}""#,
                900 + i
            );
            format!(r#"{{"input": "Who?", {of}}}"#)
        };
        let cases = read("qasper.jsonl", &(0..4).map(line).collect::<Vec<_>>().join("\n"));
        let scored = cases.into_iter().enumerate().map(|(i, case)| {
            let record = Record::of(&case.unwrap(), None, "full");
            Record { score: Some(f64::from(i < 2)), ..record }
        });
        let summary = Summary::new(&scored.collect::<Vec<_>>());
        assert_eq!((summary.cells.len(), summary.cells[0].cases), (1, 4));
        let score = summary.cells[0].score.unwrap();
        assert!(score.low < score.mean && score.mean < score.high, "{score:?}");
    }

    #[test]
    fn the_file_names_the_data_set_where_the_line_does_not() {
        let line = r#"{"input": "The text.", "context": "c", "answers": ["Paragraph 4"]}"#;
        let case = read("passage_retrieval_en.jsonl", line).remove(0).unwrap();
        assert!(case.question.ends_with("\n\nThe text.") && case.metric == Metric::Retrieval);
    }

    #[test]
    fn bad_lines_name_file_and_line() {
        let text = "{\"input\": 1}\n{\"input\": \"\", \"context\": \"\", \"answers\": [], \"dataset\": \"lcc\"}\nno";
        let found = read("b.jsonl", text);
        assert_eq!(found.len(), 3);
        for (i, (error, what)) in found.into_iter().zip(["string", "\"lcc\" is not among", "expected"]).enumerate() {
            let error = error.unwrap_err();
            assert_eq!(error.code.as_str(), "ERR_INVALID_ARG");
            assert!(error.message.contains(&format!("b.jsonl, line {}: ", i + 1)), "{}", error.message);
            assert!(error.message.contains(what), "{}", error.message);
            assert_eq!(error.details["line"], i + 1);
        }
        assert!(longbench(Path::new("absent.jsonl"), None).is_err());
    }
}
