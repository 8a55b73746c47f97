use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use skimlm_core::{Code, Error, Result};

use super::jsonl::unreadable;
use crate::Raw;

/// A benchmark's prompts by data set, with `{context}`, `{input}` and the like in them: LongBench's
/// `dataset2prompt.json`, or InfiniteBench's templates saved in that form.
#[derive(Debug, Clone, Default)]
pub struct Templates(BTreeMap<String, String>);

impl Templates {
    /// Reads a JSON object of strings. `ERR_INVALID_ARG` for anything else.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        serde_json::from_reader(BufReader::new(file)).map(Self).map_err(|error| {
            let what = format!("{} is not a JSON object of prompts: {error}. Check the file.", path.display());
            Error::new(Code::InvalidArg, what).with("file", path.display().to_string())
        })
    }

    /// The prompt around the document. None without a template of that name; `ERR_INVALID_ARG` for one without
    /// `{context}`.
    pub(super) fn raw(&self, dataset: &str, values: &[(&str, &str)]) -> Result<Option<Raw>> {
        let Some(template) = self.0.get(dataset) else { return Ok(None) };
        let Some((before, after)) = template.split_once("{context}") else {
            let what = format!("The prompt of {dataset} has no {{context}}. Check the file of prompts.");
            return Err(Error::new(Code::InvalidArg, what).with("dataset", dataset));
        };
        Ok(Some(Raw { before: filled(before, values), after: filled(after, values) }))
    }
}

/// Fills in one pass, so that braces in a value stay what they are. Unknown names stay too.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((text, tail)) = rest.split_once('{') {
        out.push_str(text);
        let known = tail.split_once('}').and_then(|(name, tail)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, tail))
        });
        match known {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push('{');
                rest = tail;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_once() {
        let values = [("input", "{question} {x"), ("question", "Who?")];
        assert_eq!(filled("Q: {input} {question}{other} {", &values), "Q: {question} {x Who?{other} {");
    }

    #[test]
    fn prompts_split_at_the_document() {
        let templates = Templates(BTreeMap::from([
            ("a".into(), "Read.\n{context}\n{input}".into()),
            ("b".into(), "{input}".into()),
        ]));
        let raw = templates.raw("a", &[("input", "Why?")]).unwrap().unwrap();
        assert_eq!((raw.before.as_str(), raw.after.as_str()), ("Read.\n", "\nWhy?"));
        assert_eq!(templates.raw("c", &[]).unwrap(), None);
        assert!(templates.raw("b", &[]).unwrap_err().message.contains("{context}"));
    }

    #[test]
    fn files_of_another_shape_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.json");
        assert!(Templates::read(&path).unwrap_err().message.contains("cannot be read"));
        std::fs::write(&path, "[1]").unwrap();
        assert!(Templates::read(&path).unwrap_err().message.contains("not a JSON object"));
        std::fs::write(&path, r#"{"a": "{context}"}"#).unwrap();
        assert!(Templates::read(&path).unwrap().raw("a", &[]).unwrap().is_some());
    }
}
