use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skimlm_core::{Code, Error, Result, read_options};

/// A value as JSON text.
pub(crate) fn write(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(Code::Internal, format!("a value has no JSON form: {e}.")).caused_by(e))
}

/// JSON text as a value; `JSON.stringify` wrote it.
pub(crate) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|e| Error::new(Code::InvalidArg, format!("the options are not valid JSON: {e}.")).caused_by(e))
}

/// Options from JSON text; a mistake is `ERR_INVALID_ARG` with the option's name.
pub(crate) fn read<T: DeserializeOwned>(text: &str, name: &str) -> Result<T> {
    read_options(&parse(text)?, name)
}
