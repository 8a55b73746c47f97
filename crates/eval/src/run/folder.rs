//! The folder of a run: its plan and its records, to which a later run adds.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, FNV_START, Result, fnv1a};
use skimlm_engine::{Loaded, files};

use super::{CaseFile, Contender, Plan};
use crate::{Record, read_records};

/// The records of a folder, and the file to go on with.
pub(super) struct Folder {
    pub(super) records: Vec<Record>,
    path: PathBuf,
    file: File,
}

/// What the records of a folder were measured with beside the plan: `measured.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Measured {
    /// The fingerprint of the model's file.
    model: Option<String>,
    /// The type of cached keys and values.
    kv_dtype: Option<String>,
    /// The fingerprint of the plan's text; none: no record was made from one.
    text: Option<String>,
}

/// What is compared with a plan whose records go into the same folder. A record names its case and its policy, and a
/// case of a file is known by its id alone: what else the file, the model's options and its profile say is not here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Earlier {
    #[serde(skip)]
    measured: Measured,
    select_only: Option<bool>,
    files: Vec<CaseFile>,
    policies: Vec<Contender>,
}

impl Folder {
    /// Opens the plan's folder and writes `plan.json`, the plan with the policies and files that earlier runs into the
    /// folder had besides, and `measured.json`.
    ///
    /// `ERR_INVALID_ARG` if there are records of another model, `kvDtype` or text, of another policy of the same name,
    /// of a file with another format or other templates, or that differ in whether anything was answered;
    /// `ERR_STORAGE` if the folder cannot be written.
    pub(super) fn open(plan: &Plan, loaded: &Loaded) -> Result<Self> {
        fs::create_dir_all(&plan.output).map_err(|e| unwritable(&plan.output, e))?;
        let path = plan.output.join("records.jsonl");
        let (records, end) = if path.exists() { read_records(&path)? } else { (Vec::new(), 0) };
        let earlier = if records.is_empty() { Earlier::default() } else { Earlier::read(&plan.output, &records)? };
        let mut measured = Measured {
            model: Some(loaded.info.file.fingerprint.clone()),
            kv_dtype: Some(loaded.dtype.as_str().to_owned()),
            text: plan.text.as_deref().filter(|_| !plan.tasks.is_empty()).map(fingerprint).transpose()?,
        };
        earlier.check(plan, &measured)?;
        measured.text = measured.text.or_else(|| earlier.measured.text.clone());
        write(&plan.output.join("measured.json"), &measured)?;
        write(&plan.output.join("plan.json"), &earlier.and(plan))?;
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
    fn read(folder: &Path, records: &[Record]) -> Result<Self> {
        let mut earlier: Self = read(&folder.join("plan.json"))?;
        // A plan is written before anything is measured: a policy without records contradicts nothing.
        earlier.policies.retain(|old| records.iter().any(|record| record.policy == old.name));
        Ok(Self { measured: read(&folder.join("measured.json"))?, ..earlier })
    }

    /// Refuses a plan whose records would be taken for those that are there.
    fn check(&self, plan: &Plan, measured: &Measured) -> Result<()> {
        let policy =
            |new: &&Contender| self.policies.iter().any(|old| old.name == new.name && old.policy != new.policy);
        // Whether a needle test is the published one is in the ids of its cases.
        let file = |new: &&CaseFile| {
            let same = |old: &CaseFile| (old.format, &old.templates) == (new.format, &new.templates);
            self.files.iter().any(|old| old.path == new.path && !same(old))
        };
        let differs =
            |old: &Option<String>, new: &Option<String>| old.as_ref().zip(new.as_ref()).is_some_and(|(a, b)| a != b);
        let other = if differs(&self.measured.model, &measured.model) {
            "another model".to_owned()
        } else if differs(&self.measured.kv_dtype, &measured.kv_dtype) {
            "another `kvDtype`".to_owned()
        } else if differs(&self.measured.text, &measured.text) {
            "another text".to_owned()
        } else if self.select_only.is_some_and(|old| old != plan.select_only) {
            format!("a plan with `selectOnly: {}`", !plan.select_only)
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

    /// The plan with the policies and files that it leaves out.
    fn and(self, plan: &Plan) -> Plan {
        let mut all = plan.clone();
        all.policies.extend(self.policies.into_iter().filter(|old| plan.policies.iter().all(|p| p.name != old.name)));
        all.files.extend(self.files.into_iter().filter(|old| !plan.files.contains(old)));
        all
    }
}

/// What an earlier run wrote as JSON; nothing where there is no such file.
fn read<T: Default + DeserializeOwned>(path: &Path) -> Result<T> {
    let bad = |error: &dyn std::fmt::Display| {
        let name = path.display().to_string();
        let what = format!("{name} is not what a run wrote: {error}. Choose another `plan.output`.");
        Error::new(Code::InvalidArg, what).with("file", name)
    };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| bad(&error)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(bad(&error)),
    }
}

fn write(path: &Path, content: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec_pretty(content).map_err(|error| {
        Error::new(Code::Internal, format!("{} is no JSON: {error}.", path.display())).caused_by(error)
    })?;
    files::write(path, &json)
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
