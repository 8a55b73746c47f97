use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Result};
use skimlm_engine::Loaded;
use skimlm_engine::text::Tokenizer;

use super::Plan;
use super::prompt::counter;
use crate::read::{NeedleTest, Templates, Tokens, cut_middle, infinitebench, longbench, ruler};
use crate::{Case, Family, Haystack, Recipe, task};

/// Tokens that a chat template takes at most.
const TEMPLATE: usize = 64;

/// A file of cases, or a folder that they are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseFile {
    /// Whose format.
    pub format: Format,
    /// The file; for the needle test the folder of essays.
    pub path: PathBuf,
    /// The benchmark's own prompts, as its repository has them.
    #[serde(default)]
    pub templates: Option<PathBuf>,
    /// The needle test with the two flaws of the published harness.
    #[serde(default)]
    pub as_published: bool,
}

impl CaseFile {
    /// Refuses settings that the format would ignore.
    fn check(&self) -> Result<()> {
        let Self { format, templates, as_published, .. } = self;
        let prompted = matches!(format, Format::Longbench | Format::Infinitebench);
        if let Some(templates) = templates.as_ref().filter(|_| !prompted) {
            let expected = "a file of longbench or infinitebench: other formats have their prompts in their cases";
            return Err(Error::invalid_option("plan.files.templates", templates.display().to_string(), expected));
        }
        if *as_published && *format != Format::Needle {
            return Err(Error::invalid_option("plan.files.asPublished", true, "a folder for the needle test"));
        }
        Ok(())
    }
}

/// Formats of case files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// LongBench.
    Longbench,
    /// RULER.
    Ruler,
    /// InfiniteBench.
    Infinitebench,
    /// The needle test over a folder of `.txt` files, at the plan's lengths (none: the published ones that the model
    /// can read) and as many depths as the plan has cases.
    Needle,
}

/// All cases of a plan. `ERR_INVALID_ARG` for different cases of one id, which records could not tell apart.
pub(super) fn cases(plan: &Plan, loaded: &Loaded) -> Result<Vec<(Case, Option<Family>)>> {
    let mut cases = Vec::new();
    if !plan.tasks.is_empty() {
        let text = plan.text.as_deref().ok_or_else(|| {
            Error::invalid_option("plan.text", serde_json::Value::Null, "a text file, because tasks hide facts in one")
        })?;
        cases.extend(made(plan, &haystack(text)?, loaded)?);
    }
    for file in &plan.files {
        file.check()?;
        let templates = file.templates.as_deref().map(Templates::read).transpose()?;
        let words = Words(&loaded.tokenizer);
        let cut = |case: Result<Case>| {
            let case = case?;
            let most = loaded.limit.saturating_sub(case.max_new_tokens + TEMPLATE);
            cut_middle(case, most, &words)
        };
        let read: Box<dyn Iterator<Item = Result<Case>>> = match file.format {
            Format::Longbench => Box::new(longbench(&file.path, templates.as_ref())?.take(plan.cases).map(cut)),
            Format::Ruler => Box::new(ruler(&file.path)?.take(plan.cases)),
            Format::Infinitebench => Box::new(infinitebench(&file.path, templates.as_ref())?.take(plan.cases).map(cut)),
            Format::Needle => Box::new(needles(plan, file, loaded)?.into_iter().map(Ok)),
        };
        for case in read {
            cases.push((case?, None));
        }
    }
    each_once(cases)
}

/// Cases without those that are there already, as where a file is given twice.
fn each_once(cases: Vec<(Case, Option<Family>)>) -> Result<Vec<(Case, Option<Family>)>> {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(cases.len());
    let mut once: Vec<(Case, Option<Family>)> = Vec::with_capacity(cases.len());
    for (case, family) in cases {
        match places.get(&case.id).map(|&place| &once[place].0) {
            Some(known) if *known == case => {}
            Some(_) => {
                let expected = "files whose cases have different ids; run the others into another `output`";
                return Err(Error::invalid_option("plan.files", case.id, expected));
            }
            None => {
                places.insert(case.id.clone(), once.len());
                once.push((case, family));
            }
        }
    }
    Ok(once)
}

/// Reads a text to hide facts in.
pub(crate) fn haystack(path: &Path) -> Result<Haystack> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| {
        Error::invalid_option("plan.text", name, format!("a text file that can be read ({e})")).caused_by(e)
    })?;
    Haystack::new(&text)
}

fn made(plan: &Plan, text: &Haystack, loaded: &Loaded) -> Result<Vec<(Case, Option<Family>)>> {
    let count = counter(loaded);
    let mut cases = Vec::new();
    for &tokens in &plan.lengths {
        for name in &plan.tasks {
            let task = task(name)?;
            for i in 0..plan.cases {
                let depth = if plan.cases == 1 { 0.5 } else { i as f32 / (plan.cases - 1) as f32 };
                let recipe = Recipe { tokens, seed: plan.seed + i as u64, depth, split: plan.split };
                cases.push((task.make(text, &recipe, &count)?, Some(task.family())));
            }
        }
    }
    Ok(cases)
}

fn needles(plan: &Plan, file: &CaseFile, loaded: &Loaded) -> Result<Vec<Case>> {
    let published = NeedleTest::default();
    let most = loaded.limit;
    let lengths = match plan.lengths.as_slice() {
        [] => published.lengths.iter().copied().filter(|length| *length <= most).collect(),
        lengths => lengths.to_vec(),
    };
    let test = NeedleTest {
        lengths,
        depths: NeedleTest::even(plan.cases, 0, 100),
        leading: loaded.tokenizer.leading_bos().filter(|_| file.as_published),
        sorted: !file.as_published,
        ..published
    };
    test.cases(&file.path, &Words(&loaded.tokenizer))?.collect()
}

/// A model's tokenizer as the needle test uses it.
struct Words<'a>(&'a Tokenizer);

impl Tokens for Words<'_> {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.0.encode(text, true)
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.0.decode(ids, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{haystack, words};

    #[test]
    fn cases_of_one_id_are_one_case() {
        let recipe = Recipe::new(300, 1, 0.5);
        let made = |name: &str| (task(name).unwrap().make(&haystack(), &recipe, &words).unwrap(), None);
        let same = vec![made("needle"), made("multikey"), made("needle")];
        assert_eq!(each_once(same.clone()).unwrap(), same[..2]);
        let mut other = same;
        other[2].0.question.push('?');
        let error = each_once(other).unwrap_err();
        assert_eq!(error.details["option"], "plan.files", "{error}");
    }

    #[test]
    fn settings_that_a_format_would_ignore_are_refused() {
        for (format, takes) in [
            (Format::Longbench, [true, false]),
            (Format::Ruler, [false, false]),
            (Format::Infinitebench, [true, false]),
            (Format::Needle, [false, true]),
        ] {
            let file = CaseFile { format, path: "cases".into(), templates: None, as_published: false };
            let prompted = CaseFile { templates: Some("prompts.json".into()), ..file.clone() };
            let published = CaseFile { as_published: true, ..file.clone() };
            assert!(file.check().is_ok());
            assert_eq!([prompted, published].map(|file| file.check().is_ok()), takes, "{format:?}");
        }
    }
}
