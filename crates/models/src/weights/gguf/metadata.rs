use skimlm_core::{Error, Result};

use super::Gguf;
use super::cursor::Cursor;
use super::value::{Array, Value};
use crate::fail::{corrupt, in_file};

/// Typed access to the metadata. A missing key is `None`; a value of another type, or a text that is
/// not UTF-8, is `ERR_MODEL_CORRUPT` with `{ key }`.
impl Gguf {
    /// Every key with its value, sorted by key.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Result<Value<'_>>)> {
        self.header.entries.keys().map(|key| (key.as_str(), self.require(key)))
    }

    /// A value of any type.
    pub fn get(&self, key: &str) -> Result<Option<Value<'_>>> {
        let Some(entry) = self.header.entries.get(key) else { return Ok(None) };
        let bytes = self.bytes().get(entry.range.clone()).unwrap_or_default();
        Value::read(entry.kind, &mut Cursor::new(bytes), &format!("`{key}`"))
            .map(Some)
            .map_err(|error| in_file(&self.path)(error.with("key", key)))
    }

    /// A text.
    pub fn get_str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a text", |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    /// Any integer that fits.
    pub fn get_u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "an integer from 0 to 4294967295", |value| u32::try_from(integer(value)?).ok())
    }

    /// Either float, or an integer.
    pub fn get_f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a number", float)
    }

    /// A truth value.
    pub fn get_bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a truth value", |value| match value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    /// An array, still in the file.
    pub fn get_array(&self, key: &str) -> Result<Option<Array<'_>>> {
        self.typed(key, "an array", |value| match value {
            Value::Array(array) => Some(array),
            _ => None,
        })
    }

    /// An array of texts, borrowed: vocabulary, merges.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<&str>>> {
        self.list(key, "an array of texts", |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    /// An array of integers: token types.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.list(key, "an array of integers", |value| i64::try_from(integer(value)?).ok())
    }

    /// An array of numbers: token scores.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.list(key, "an array of numbers", float)
    }

    /// A value that must be there.
    fn require(&self, key: &str) -> Result<Value<'_>> {
        self.get(key)?.ok_or_else(|| self.missing(key))
    }

    /// The error for a key that must be there and is not.
    pub(crate) fn missing(&self, key: &str) -> Error {
        in_file(&self.path)(corrupt(format!("the metadata lacks `{key}`. Convert the model again.")).with("key", key))
    }

    fn typed<'a, T>(&'a self, key: &str, expected: &str, read: impl Fn(Value<'a>) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.mistyped(key, value, expected))
    }

    fn list<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(array) = self.get_array(key)? else { return Ok(None) };
        let mut out = Vec::new();
        for value in array.iter() {
            let value = value.map_err(|error| in_file(&self.path)(error.with("key", key)))?;
            out.push(read(value).ok_or_else(|| self.mistyped(key, value, expected))?);
        }
        Ok(Some(out))
    }

    fn mistyped(&self, key: &str, value: Value<'_>, expected: &str) -> Error {
        in_file(&self.path)(
            corrupt(format!("`{key}` is {}; {expected} is expected.", value.describe()))
                .with("key", key)
                .with("expected", expected),
        )
    }
}

fn integer(value: Value<'_>) -> Option<i128> {
    match value {
        Value::Unsigned(n) => Some(n.into()),
        Value::Signed(n) => Some(n.into()),
        _ => None,
    }
}

fn float(value: Value<'_>) -> Option<f32> {
    match value {
        Value::Float(x) => Some(x as f32),
        other => integer(other).map(|n| n as f32),
    }
}
