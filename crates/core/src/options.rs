use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Options from plain JSON. A failure is `ERR_INVALID_ARG` with the option's path below `name`, its value
/// and what was expected; unknown options answer with the known ones.
pub fn read_options<T: DeserializeOwned>(options: &Value, name: &str) -> Result<T> {
    serde_path_to_error::deserialize(options).map_err(|e| {
        let path = e.path().to_string();
        let value = path.split(['.', '[', ']']).filter(|p| !p.is_empty()).try_fold(options, |v, key| match v {
            Value::Array(list) => list.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        });
        let option = match (name, path.as_str()) {
            ("", path) => path.to_owned(),
            (name, ".") => name.to_owned(),
            (name, path) => format!("{name}.{path}"),
        };
        Error::invalid_option(&option, value.cloned().unwrap_or(Value::Null), e.inner().to_string())
    })
}
