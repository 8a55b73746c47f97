//! A run: every case under every policy, one record each.

mod contender;
mod measure;
pub(crate) mod prompt;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Result};
use skimlm_engine::{Cancel, Loaded};

pub use contender::Contender;

use crate::read::{Templates, infinitebench, longbench, ruler};
use crate::{Case, Family, Haystack, Recipe, Record, Split, Summary, read_records, report, task};
use measure::measure;
use prompt::Reading;

/// What to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// A text file to hide facts in; none: cases come from files only.
    #[serde(default)]
    pub text: Option<PathBuf>,
    /// Tasks by name.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Document lengths in tokens.
    #[serde(default)]
    pub lengths: Vec<usize>,
    /// Cases of each task and length; depths spread evenly over them.
    pub cases: usize,
    /// The first seed.
    #[serde(default)]
    pub seed: u64,
    /// The half of the pools.
    #[serde(default)]
    pub split: Split,
    /// Files of published benchmarks.
    #[serde(default)]
    pub files: Vec<CaseFile>,
    /// Policies in the order of the table; `full` first, so that the others have something to differ from.
    pub policies: Vec<Contender>,
    /// The folder for `records.jsonl`, `summary.json`, `table.md` and `report.html`. Records that are there already
    /// are not measured again.
    pub output: PathBuf,
}

/// A file of cases.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseFile {
    /// Whose format.
    pub format: Format,
    /// The file.
    pub path: PathBuf,
    /// The benchmark's own prompts, as its repository has them.
    #[serde(default)]
    pub templates: Option<PathBuf>,
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
}

/// How far a run has come.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Records there are.
    pub done: usize,
    /// Records there will be.
    pub total: usize,
    /// What was measured last.
    pub last: Option<Record>,
}

/// Runs a plan. A stop keeps what is done; the summary is of all records in the folder.
pub fn run(plan: &Plan, loaded: &Loaded, cancel: &Cancel, progress: &mut dyn FnMut(&Progress)) -> Result<Summary> {
    if plan.policies.is_empty() || plan.cases == 0 {
        return Err(Error::invalid_option("policies", plan.policies.len(), "at least one, with at least one case"));
    }
    plan.policies.iter().try_for_each(|contender| contender.check(loaded))?;
    let cases = cases(plan, loaded)?;
    fs::create_dir_all(&plan.output).map_err(|e| unwritable(&plan.output, e))?;
    let path = plan.output.join("records.jsonl");
    let (mut records, mut file) = reopen(&path)?;
    let have: HashSet<(String, String)> = records.iter().map(|r| (r.case.clone(), r.policy.clone())).collect();
    let total = cases.len() * plan.policies.len();
    let mut done = 0;
    'cases: for (case, family) in &cases {
        let missing: Vec<_> =
            plan.policies.iter().filter(|p| !have.contains(&(case.id.clone(), p.name.clone()))).collect();
        done += plan.policies.len() - missing.len();
        progress(&Progress { done, total, last: None });
        if missing.is_empty() {
            continue;
        }
        let reading = Reading::new(case, loaded)?;
        for contender in missing {
            let mut record = match measure(case, *family, contender, &reading, loaded, cancel) {
                Ok(record) => record,
                Err(error) if error.code == Code::Cancelled && !cancel.is_aborted() => break 'cases,
                Err(error) => return Err(error),
            };
            let full = records.iter().find(|r| r.case == record.case && r.policy == "full");
            record.loss_full = if record.policy == "full" { record.loss } else { full.and_then(|r| r.loss) };
            file.write_all(record.line()?.as_bytes()).map_err(|e| unwritable(&path, e))?;
            done += 1;
            records.push(record);
            progress(&Progress { done, total, last: records.last().cloned() });
        }
    }
    finish(plan, loaded, &records)
}

/// The files made from records.
fn finish(plan: &Plan, loaded: &Loaded, records: &[Record]) -> Result<Summary> {
    let summary = Summary::new(records);
    let info = &loaded.info.file;
    let about = vec![
        ("model".to_owned(), format!("{} with {} layers, {}", info.architecture, info.layers, info.fingerprint)),
        ("skimlm".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("cases".to_owned(), format!("{} a task and length, seeds from {}", plan.cases, plan.seed)),
    ];
    let files = [
        ("summary.json", summary.to_json()?),
        ("table.md", report::markdown(&summary)),
        ("report.html", report::html(&summary, records, &about)),
    ];
    for (name, text) in files {
        let path = plan.output.join(name);
        fs::write(&path, text).map_err(|e| unwritable(&path, e))?;
    }
    Ok(summary)
}

/// The records of an earlier run, and the file to go on with.
fn reopen(path: &Path) -> Result<(Vec<Record>, File)> {
    let (records, end) = if path.exists() { read_records(path)? } else { (Vec::new(), 0) };
    let open = || {
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.set_len(end)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    Ok((records, open().map_err(|e| unwritable(path, e))?))
}

/// All cases of a plan.
fn cases(plan: &Plan, loaded: &Loaded) -> Result<Vec<(Case, Option<Family>)>> {
    let mut cases = Vec::new();
    if !plan.tasks.is_empty() {
        let text = plan.text.as_deref().ok_or_else(|| {
            Error::invalid_option("text", serde_json::Value::Null, "a text file, because tasks hide facts in one")
        })?;
        cases.extend(made(plan, &haystack(text)?, loaded)?);
    }
    for file in &plan.files {
        let templates = file.templates.as_deref().map(Templates::read).transpose()?;
        let read: Box<dyn Iterator<Item = Result<Case>>> = match file.format {
            Format::Longbench => Box::new(longbench(&file.path, templates.as_ref())?),
            Format::Ruler => Box::new(ruler(&file.path)?),
            Format::Infinitebench => Box::new(infinitebench(&file.path, templates.as_ref())?),
        };
        for case in read.take(plan.cases) {
            cases.push((case?, None));
        }
    }
    Ok(cases)
}

/// Reads a text to hide facts in.
pub(crate) fn haystack(path: &Path) -> Result<Haystack> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|e| Error::invalid_option("text", name, format!("a text file that can be read ({e})")).caused_by(e))?;
    Haystack::new(&text)
}

fn made(plan: &Plan, text: &Haystack, loaded: &Loaded) -> Result<Vec<(Case, Option<Family>)>> {
    let count = |text: &str| loaded.tokenizer.encode(text, false).map_or(usize::MAX, |ids| ids.len());
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

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    let name = path.display().to_string();
    Error::invalid_option("output", name, format!("a place that can be written ({error})")).caused_by(error)
}
