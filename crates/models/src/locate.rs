use std::path::{Path, PathBuf};

use skimlm_core::{Code, Error, Result};

use crate::weights::gguf::part_of;

/// The model that a path means: a GGUF file, or a folder with `config.json` and safetensors files. A folder with
/// exactly one GGUF model means that file, or the first of its parts, and a safetensors file the folder that it is in.
///
/// `ERR_MODEL_NOT_FOUND` otherwise, with the absolute path and what is there instead.
pub(crate) fn locate(path: &Path) -> Result<PathBuf> {
    // `absolute` fails for an empty path only.
    let full = std::path::absolute(path).unwrap_or_else(|_| path.into());
    if full.is_dir() {
        return the_one_model(&full);
    }
    if path.as_os_str().is_empty() || !full.try_exists().unwrap_or(true) {
        return Err(missing(&full));
    }
    match full.parent() {
        Some(folder) if ends_with(&full, "safetensors") && folder.join("config.json").is_file() => Ok(folder.into()),
        _ => Ok(full),
    }
}

fn the_one_model(folder: &Path) -> Result<PathBuf> {
    let files = names(folder);
    let weights =
        files.iter().any(|name| ends_with(name.as_ref(), "safetensors") || name.ends_with(".safetensors.index.json"));
    if weights && files.iter().any(|name| name == "config.json") {
        return Ok(folder.into());
    }
    // The parts of a split model count as one; its first is named.
    let later = |name: &str| part_of(name).is_some_and(|(_, part, of)| (2..=of).contains(&part));
    let models: Vec<String> = files.iter().filter(|name| is_gguf(name) && !later(name)).cloned().collect();
    if let [only] = &models[..] {
        return Ok(folder.join(only));
    }
    let what = match (models.is_empty(), weights) {
        (false, _) => format!("{} .gguf files: {}. Name one of them", models.len(), list(&models)),
        (true, true) => "safetensors files without their config.json".into(),
        (true, false) => format!("neither a .gguf file nor config.json with safetensors files, only {}", list(&files)),
    };
    Err(Error::new(
        Code::ModelNotFound,
        format!(
            "The folder {} holds {what}; exactly one .gguf file, or config.json and safetensors files, are expected.",
            folder.display()
        ),
    )
    .with("path", folder.display().to_string())
    .with("found", if models.is_empty() { files.into_iter().take(20).collect() } else { models })
    .with("expected", vec!["one .gguf file", "config.json and *.safetensors"]))
}

fn missing(path: &Path) -> Error {
    let wanted = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let folder = path.parent().unwrap_or(path);
    let mut close: Vec<(f64, String)> = names(folder)
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(likeness, name)| *likeness > 0.8 || (is_gguf(name) && *likeness > 0.6))
        .collect();
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    let close: Vec<String> = close.into_iter().take(5).map(|(_, name)| name).collect();
    let hint = if !folder.is_dir() {
        format!("the folder {} does not exist either.", folder.display())
    } else if close.is_empty() {
        "nothing beside it has a similar name.".into()
    } else {
        format!("did you mean {}?", list(&close))
    };
    Error::new(Code::ModelNotFound, format!("There is no model at {}; {hint}", path.display()))
        .with("path", path.display().to_string())
        .with("nearMatches", close)
}

fn is_gguf(name: &str) -> bool {
    ends_with(name.as_ref(), "gguf")
}

fn ends_with(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// The files and folders in a folder, sorted; none if it cannot be read.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".into(),
        names if names.len() > 8 => format!("{} and {} more", names[..8].join(", "), names.len() - 8),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_means_its_only_model() {
        let folder = tempfile::tempdir().unwrap();
        let error = locate(folder.path()).unwrap_err();
        assert_eq!(error.code, Code::ModelNotFound);
        std::fs::write(folder.path().join("readme.md"), "").unwrap();
        std::fs::write(folder.path().join("a.gguf"), "").unwrap();
        assert_eq!(locate(folder.path()).unwrap(), folder.path().join("a.gguf"));
        std::fs::write(folder.path().join("b.GGUF"), "").unwrap();
        let error = locate(folder.path()).unwrap_err();
        assert_eq!(error.code, Code::ModelNotFound);
        assert_eq!(error.details["found"], serde_json::json!(["a.gguf", "b.GGUF"]));
    }

    #[test]
    fn a_missing_file_names_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("SmolLM2-135M.Q4_1.gguf"), "").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let error = locate(&folder.path().join("smollm2-135m.Q4_0.gguf")).unwrap_err();
        assert_eq!(error.code, Code::ModelNotFound);
        assert_eq!(error.details["nearMatches"], serde_json::json!(["SmolLM2-135M.Q4_1.gguf"]));
        assert!(Path::new(error.details["path"].as_str().unwrap()).is_absolute());
        let error = locate(&folder.path().join("no/such/model.gguf")).unwrap_err();
        assert!(error.message.contains("does not exist"), "{error}");
        assert_eq!(locate(Path::new("")).unwrap_err().code, Code::ModelNotFound);
    }
}
