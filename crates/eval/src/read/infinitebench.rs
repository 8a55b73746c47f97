use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use skimlm_core::Result;

use super::Templates;
use super::jsonl::{jsonl, stem, text};
use crate::{Case, Metric};

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(alias = "content")]
    context: String,
    #[serde(default)]
    input: String,
    answer: Value,
    #[serde(default)]
    options: Vec<String>,
    id: Option<Value>,
}

/// Data set, tokens of an answer, rule, and the question in plain words where the file's is not one.
const DATASETS: [(&str, usize, Metric, &str); 11] = [
    ("passkey", 6, Metric::FirstInteger, ""),
    ("number_string", 12, Metric::FirstInteger, ""),
    ("kv_retrieval", 50, Metric::Word, ""),
    ("longbook_sum_eng", 1200, Metric::RougeL, "Summarise the book above."),
    ("longbook_choice_eng", 40, Metric::Letter, ""),
    ("longbook_qa_eng", 40, Metric::F1, ""),
    ("longbook_qa_chn", 40, Metric::F1Chinese, ""),
    (
        "longdialogue_qa_eng",
        40,
        Metric::Speaker,
        "One name of a speaker in the script above is replaced with $$MASK$$. Which name is it? Answer with the name \
         alone.",
    ),
    ("math_find", 3, Metric::FirstNumber, ""),
    ("code_run", 5, Metric::LastInteger, ""),
    ("code_debug", 5, Metric::CodeLetter, "Which function above has a deliberate error?"),
];

/// The cases of one InfiniteBench file (Zhang et al. 2024, arXiv 2402.13718), such as `passkey.jsonl`: the eleven
/// tasks that PromptDistill reports. The file's name names the task.
pub fn infinitebench<'a>(
    path: &Path,
    templates: Option<&'a Templates>,
) -> Result<impl Iterator<Item = Result<Case>> + use<'a>> {
    let stem = stem(path);
    Ok(jsonl::<Line>(path)?.map(move |line| {
        let (place, line) = line?;
        let Some((name, max_new_tokens, metric, ask)) = DATASETS.iter().find(|(known, ..)| *known == stem) else {
            let known = DATASETS.each_ref().map(|(known, ..)| *known).join(", ");
            return Err(place.error(format!("the data set {stem:?} is not among {known}")));
        };
        let letters = matches!(metric, Metric::Letter | Metric::CodeLetter);
        let answers = answers(&line, letters).map_err(|what| place.error(what))?;
        let mut question = if ask.is_empty() { line.input.clone() } else { (*ask).to_owned() };
        for (letter, option) in ('A'..).zip(line.options.iter().filter(|_| letters)) {
            question.push_str(&format!("\n{letter}. {option}"));
        }
        let raw = templates.map_or(Ok(None), |templates| templates.raw(name, &values(&line)))?;
        let id = line.id.as_ref().and_then(text).unwrap_or_else(|| place.line.to_string());
        Ok(Case {
            task: (*name).to_owned(),
            id: format!("{name}-{id}"),
            document: line.context,
            question,
            answers,
            metric: metric.clone(),
            evidence: Vec::new(),
            length: 0,
            depth: None,
            max_new_tokens: *max_new_tokens,
            continuation: None,
            raw,
        })
    }))
}

/// The references; for choices the option's text and its letter.
fn answers(line: &Line, letters: bool) -> Result<Vec<String>, String> {
    let answers: Option<Vec<String>> = match &line.answer {
        Value::Array(answers) => answers.iter().map(text).collect(),
        answer => text(answer).map(|answer| vec![answer]),
    };
    let answers = answers.filter(|answers| !answers.is_empty()).ok_or("answer is no text, number or list of them")?;
    if !letters || matches!(&answers[..], [_, letter] if ["A", "B", "C", "D"].contains(&letter.as_str())) {
        return Ok(answers);
    }
    let chosen = line.options.iter().position(|option| *option == answers[0]).filter(|&i| i < 4);
    let letter = chosen.map(|i| char::from(b'A' + i as u8).to_string());
    letter.map(|letter| vec![answers[0].clone(), letter]).ok_or_else(|| "the answer is none of four options".into())
}

/// What the templates may name.
fn values(line: &Line) -> Vec<(&str, &str)> {
    let mut values = vec![("input", line.input.as_str()), ("question", line.input.as_str())];
    let names = ["OPTION_A", "OPTION_B", "OPTION_C", "OPTION_D"];
    values.extend(names.into_iter().zip(line.options.iter().map(String::as_str)));
    // "func_12(-3)": a call, and the function's name before the bracket.
    if let Some(call) = line.input.find("func_").map(|at| &line.input[at..])
        && let (Some(open), Some(close)) = (call.find('('), call.find(')'))
    {
        values.push(("func_call", &call[..=close]));
        values.push(("func", &call[..open.min(close)]));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str, templates: Option<&Templates>) -> Vec<Result<Case>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        infinitebench(&path, templates).unwrap().collect()
    }

    #[test]
    fn answers_are_texts_numbers_or_lists() {
        for (answer, expected) in [("\"71432\"", "71432"), ("[\"71432\"]", "71432"), ("71432", "71432")] {
            let line = format!(r#"{{"id": 7, "context": "c", "input": "What is the pass key?", "answer": {answer}}}"#);
            let case = read("passkey.jsonl", &line, None).remove(0).unwrap();
            assert_eq!((case.id.as_str(), case.max_new_tokens), ("passkey-7", 6));
            assert_eq!(case.answers, [expected]);
            assert_eq!(case.metric.score("It is 71432.", &case.answers), Some(1.0));
        }
    }

    #[test]
    fn choices_get_their_letter() {
        let line =
            r#"{"context": "c", "input": "Which?", "answer": ["two"], "options": ["one", "two", "three", "four"]}"#;
        let case = read("longbook_choice_eng.jsonl", line, None).remove(0).unwrap();
        assert_eq!(case.answers, ["two", "B"]);
        assert_eq!(case.question, "Which?\nA. one\nB. two\nC. three\nD. four");
        assert_eq!(case.metric.score("B", &case.answers), Some(1.0));
        let given = line.replace("[\"two\"]", "[\"two\", \"D\"]");
        assert_eq!(read("code_debug.jsonl", &given, None).remove(0).unwrap().answers, ["two", "D"]);
        let odd = line.replace("[\"two\"]", "[\"five\"]");
        assert!(read("code_debug.jsonl", &odd, None)[0].as_ref().unwrap_err().message.contains("none of four options"));
    }

    #[test]
    fn templates_are_filled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.json");
        std::fs::write(&path, r#"{"code_run": "{func} in\n{context}\nThe value of {func_call} is"}"#).unwrap();
        let templates = Templates::read(&path).unwrap();
        let line = r#"{"context": "def ...", "input": "Give the value of func_3(-4).", "answer": -2}"#;
        let case = read("code_run.jsonl", line, Some(&templates)).remove(0).unwrap();
        let raw = case.raw.unwrap();
        assert_eq!((raw.before.as_str(), raw.after.as_str()), ("func_3 in\n", "\nThe value of func_3(-4) is"));
        assert_eq!(case.answers, ["-2"]);
    }

    #[test]
    fn bad_lines_are_errors() {
        let odd = r#"{"context": "c", "answer": {"a": 1}}"#;
        assert!(
            read("passkey.jsonl", odd, None)[0].as_ref().unwrap_err().message.contains("line 1: answer is no text")
        );
        assert!(read("math_calc.jsonl", odd, None)[0].as_ref().unwrap_err().message.contains("is not among"));
        assert!(read("passkey.jsonl", "{}", None)[0].as_ref().unwrap_err().message.contains("missing field"));
    }
}
