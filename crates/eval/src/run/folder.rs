//! The folder of a run: its plan and its records, to which a later run adds.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use skimlm_core::{Code, Error, FNV_START, Result, fnv1a};
use skimlm_engine::files;

use super::{CaseFile, Contender, Plan};
use crate::{Record, read_records};

/// The records of a folder, and the file to go on with.
pub(super) struct Folder {
    pub(super) records: Vec<Record>,
    path: PathBuf,
    file: File,
}

/// What the records of a folder were measured with. A record names its case and its policy; all else that it depends
/// on is here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Earlier {
    model: Option<String>,
    text_fingerprint: Option<String>,
    select_only: Option<bool>,
    files: Vec<CaseFile>,
    policies: Vec<Contender>,
}

impl Folder {
    /// Opens the plan's folder and writes `plan.json`: the plan, with what earlier runs into the folder had besides, and
    /// the fingerprints of the model and the text.
    ///
    /// `ERR_INVALID_ARG` if there are records of another model or text, of another policy of the same name, or that
    /// differ in whether anything was answered; `ERR_STORAGE` if the folder cannot be written.
    pub(super) fn open(plan: &Plan, model: &str) -> Result<Self> {
        fs::create_dir_all(&plan.output).map_err(|e| unwritable(&plan.output, e))?;
        let path = plan.output.join("records.jsonl");
        let (records, end) = if path.exists() { read_records(&path)? } else { (Vec::new(), 0) };
        let place = plan.output.join("plan.json");
        let earlier = if records.is_empty() { Earlier::default() } else { Earlier::read(&place)? };
        let text = plan.text.as_deref().filter(|_| !plan.tasks.is_empty()).map(fingerprint).transpose()?;
        earlier.check(plan, model, text.as_deref())?;
        files::write(&place, earlier.and(plan, model, text)?.as_bytes())?;
        let open = || {
            let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            file.set_len(end)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(|e| unwritable(&path, e))?;
        Ok(Self { records, path, file })
    }

    /// Writes a record.
    pub(super) fn add(&mut self, record: Record) -> Result<()> {
        self.file.write_all(record.line()?.as_bytes()).map_err(|e| unwritable(&self.path, e))?;
        self.records.push(record);
        Ok(())
    }
}

impl Earlier {
    fn read(path: &Path) -> Result<Self> {
        let bad = |error: &dyn std::fmt::Display| {
            let name = path.display().to_string();
            let what = format!("{name} is no plan: {error}. Choose another `plan.output`.");
            Error::new(Code::InvalidArg, what).with("file", name)
        };
        match fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| bad(&error)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(bad(&error)),
        }
    }

    /// Refuses a plan whose records would be taken for those that are there.
    fn check(&self, plan: &Plan, model: &str, text: Option<&str>) -> Result<()> {
        let policy =
            |new: &&Contender| self.policies.iter().any(|old| old.name == new.name && old.policy != new.policy);
        let file = |new: &&CaseFile| self.files.iter().any(|old| old.path == new.path && old != *new);
        let differs =
            |old: &Option<String>, new: Option<&str>| old.as_deref().zip(new).is_some_and(|(old, new)| old != new);
        let other = if differs(&self.model, Some(model)) {
            "another model".to_owned()
        } else if differs(&self.text_fingerprint, text) {
            "another text".to_owned()
        } else if self.select_only.is_some_and(|old| old != plan.select_only) {
            format!("a plan without `selectOnly: {}`", plan.select_only)
        } else if let Some(Contender { name, .. }) = plan.policies.iter().find(policy) {
            format!("another policy called {name}")
        } else if let Some(CaseFile { path, .. }) = plan.files.iter().find(file) {
            format!("{} with other settings", path.display())
        } else {
            return Ok(());
        };
        let folder = plan.output.display().to_string();
        Err(Error::invalid_option("plan.output", folder, format!("a folder without records of {other}")))
    }

    /// The plan and what it leaves out, as JSON.
    fn and(self, plan: &Plan, model: &str, text: Option<String>) -> Result<String> {
        let mut all = plan.clone();
        all.policies.extend(self.policies.into_iter().filter(|old| plan.policies.iter().all(|p| p.name != old.name)));
        all.files.extend(self.files.into_iter().filter(|old| plan.files.iter().all(|file| file.path != old.path)));
        let json = serde_json::to_value(&all).and_then(|mut all| {
            all["model"] = Value::from(model);
            all["textFingerprint"] = Value::from(text.or(self.text_fingerprint));
            serde_json::to_string_pretty(&all)
        });
        json.map_err(|error| Error::new(Code::Internal, format!("The plan is no JSON: {error}.")).caused_by(error))
    }
}

/// A short name for the bytes of a text file.
fn fingerprint(path: &Path) -> Result<String> {
    Ok(format!("{:016x}", fnv1a(FNV_START, files::read(path)?)))
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    let name = path.display().to_string();
    let message = format!("{name} cannot be written: {error}. Free some space or choose another `plan.output`.");
    Error::new(Code::Storage, message).with("path", name).caused_by(error)
}
