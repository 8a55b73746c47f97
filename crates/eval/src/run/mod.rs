//! A run: every case under every policy, one record each.

mod cases;
pub(crate) mod chorus;
mod contender;
mod folder;
mod measure;
pub(crate) mod prompt;
mod select;

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Result};
use skimlm_engine::{Cancel, Loaded, files};

pub(crate) use cases::haystack;
pub use cases::{CaseFile, Format};
pub use contender::{Bm25, Contender};

use crate::summary::FULL;
use crate::{Record, Split, Summary, report};
use cases::cases;
use folder::Folder;
use measure::measure;
use prompt::ReadCase;
use select::select;

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
    /// Nothing is answered: what policies keep is all that is measured, and filter passes are shared.
    #[serde(default)]
    pub select_only: bool,
    /// Policies in the order of the table. The one called `full`, which is of that kind, is what the others differ
    /// from.
    pub policies: Vec<Contender>,
    /// The folder for `plan.json`, `measured.json`, `records.jsonl`, `summary.json`, `table.md` and `report.html`.
    /// Records that are there already are not measured again. Refused are those of another model file, `kvDtype` or
    /// `text`, those with the other `selectOnly`, and those of a policy of the same name with other options or of a
    /// file at the same path with another format or other `templates`. Nothing else is compared: a case of another file
    /// that has the same id counts as measured.
    pub output: PathBuf,
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
    if plan.policies.is_empty() {
        return Err(Error::invalid_option("plan.policies", Vec::<String>::new(), "at least one policy"));
    }
    if plan.cases == 0 {
        return Err(Error::invalid_option("plan.cases", plan.cases, "at least 1"));
    }
    let mut names = HashSet::new();
    if let Some(Contender { name, .. }) = plan.policies.iter().find(|contender| !names.insert(&contender.name)) {
        return Err(Error::invalid_option("plan.policies", name.as_str(), "a name that no other policy has"));
    }
    if plan.policies.iter().any(|contender| contender.name == FULL && !contender.is_full()) {
        let expected = "the policy `full` under this name, with which the others are compared";
        return Err(Error::invalid_option("plan.policies", FULL, expected));
    }
    plan.policies.iter().try_for_each(|contender| contender.check(loaded))?;
    let cases = cases(plan, loaded)?;
    let mut folder = Folder::open(plan, loaded)?;
    let have: HashSet<(String, String)> = folder.records.iter().map(|r| (r.case.clone(), r.policy.clone())).collect();
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
        let reading = ReadCase::new(case, loaded)?;
        // One by one where each takes its own passes, all at once where they share them.
        let turns: Vec<&[&Contender]> = missing.chunks(if plan.select_only { missing.len() } else { 1 }).collect();
        for turn in turns {
            let measured = match turn {
                [contender] if !plan.select_only => {
                    measure(case, *family, contender, &reading, loaded, cancel).map(|record| vec![record])
                }
                _ => select(case, *family, turn, &reading, loaded, cancel),
            };
            let new = match measured {
                Ok(new) => new,
                Err(error) if error.code == Code::Cancelled && !cancel.is_aborted() => break 'cases,
                Err(error) => return Err(error),
            };
            for record in new {
                folder.add(record)?;
                done += 1;
                progress(&Progress { done, total, last: folder.records.last().cloned() });
            }
        }
    }
    finish(plan, loaded, &folder.records)
}

/// The files made from records.
fn finish(plan: &Plan, loaded: &Loaded, records: &[Record]) -> Result<Summary> {
    let summary = Summary::new(records);
    let (folder, info) = (&plan.output, &loaded.info.file);
    let about = vec![
        ("model".to_owned(), format!("{} with {} layers, {}", info.architecture, info.layers, info.fingerprint)),
        ("skimlm".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("cases".to_owned(), format!("{} a task and length, seeds from {}", plan.cases, plan.seed)),
    ];
    let made = [
        ("summary.json", summary.to_json()?),
        ("table.md", report::markdown(&summary)),
        ("report.html", report::html(&summary, records, &about)),
    ];
    for (name, text) in made {
        files::write(&folder.join(name), text.as_bytes())?;
    }
    Ok(summary)
}
