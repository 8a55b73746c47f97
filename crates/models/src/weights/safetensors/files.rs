use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use skimlm_core::{Code, Error, Result};

use crate::fail::{corrupt, in_file};
use crate::families::ConfigJson;

pub(super) const INDEX: &str = "model.safetensors.index.json";
const WHOLE: &str = "model.safetensors";
/// Far above the settings of any real model.
const LONGEST_JSON: u64 = 256 << 20;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The settings of a folder.
pub(super) fn settings(folder: &Path) -> Result<ConfigJson> {
    json(folder, "config.json")?.ok_or_else(|| not_there(folder, "config.json"))
}

/// The names of a folder's files of weights, sorted: those that the index names, or the only one.
pub(super) fn weights(folder: &Path) -> Result<Vec<String>> {
    let Some(index) = json::<Index>(folder, INDEX)? else {
        if folder.join(WHOLE).is_file() {
            return Ok(vec![WHOLE.into()]);
        }
        let mut files = crate::locate::names(folder);
        files.retain(|name| name.ends_with(".safetensors"));
        return if files.len() == 1 { Ok(files) } else { Err(not_there(folder, INDEX)) };
    };
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    // A name that leads out of the folder is none of ours.
    let plain = |name: &&String| matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    if names.is_empty() || !names.iter().all(|name| plain(&name)) {
        let what = format!("`weight_map` names no files of this folder: {:?}.", names.iter().find(|name| !plain(name)));
        return Err(in_file(&folder.join(INDEX))(corrupt(what)));
    }
    let missing: Vec<String> = names.iter().filter(|name| !folder.join(name).is_file()).cloned().collect();
    if missing.is_empty() {
        return Ok(names);
    }
    Err(Error::new(
        Code::ModelNotFound,
        format!(
            "The folder {} lacks {} of the model's {} files of weights: {}. Download them too.",
            folder.display(),
            missing.len(),
            names.len(),
            missing.iter().take(8).cloned().collect::<Vec<_>>().join(", ")
        ),
    )
    .with("path", folder.display().to_string())
    .with("missing", missing))
}

fn not_there(folder: &Path, name: &str) -> Error {
    Error::new(Code::ModelNotFound, format!("The folder {} has no {name}. Download it too.", folder.display()))
        .with("path", folder.display().to_string())
        .with("missing", vec![name])
        .with("found", crate::locate::names(folder).into_iter().take(20).collect::<Vec<_>>())
}

/// A JSON file of a folder; none if it is not there.
pub(super) fn json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>> {
    let path = folder.join(name);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let value = serde_json::from_slice(&bytes);
    value
        .map(Some)
        .map_err(|error| in_file(&path)(corrupt(format!("the file cannot be read: {error}.")).caused_by(error)))
}

/// A text file of a folder; none if it is not there.
pub(super) fn text(folder: &Path, name: &str) -> Result<Option<String>> {
    let path = folder.join(name);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|error| in_file(&path)(corrupt(format!("the file is not UTF-8: {error}.")).caused_by(error)))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let unreadable = |error: std::io::Error| {
        let what = format!("{} cannot be read: {error}. Check path and permissions.", path.display());
        Error::new(Code::ModelNotFound, what).with("path", path.display().to_string()).caused_by(error)
    };
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(unreadable)?,
    };
    if !metadata.is_file() || metadata.len() > LONGEST_JSON {
        let what = format!("this is no file of at most {LONGEST_JSON} bytes.");
        return Err(in_file(path)(corrupt(what)));
    }
    std::fs::read(path).map(Some).map_err(unreadable)
}
