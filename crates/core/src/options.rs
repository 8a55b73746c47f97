use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Code, Error, Result, shown};

/// Options from plain JSON. A failure is `ERR_INVALID_ARG` with the option's path below `name` (without a name:
/// `options`), its value, cut where it is long, and what was expected; unknown options answer with the known ones.
pub fn read_options<T: DeserializeOwned>(options: &Value, name: &str) -> Result<T> {
    serde_path_to_error::deserialize(options).map_err(|e| {
        let path = e.path().to_string();
        let value = path.split(['.', '[', ']']).filter(|p| !p.is_empty()).try_fold(options, |v, key| match v {
            Value::Array(list) => list.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        });
        let option = match (name, path.as_str()) {
            ("", ".") => "options".to_owned(),
            ("", path) => path.to_owned(),
            (name, ".") => name.to_owned(),
            (name, path) => format!("{name}.{path}"),
        };
        let (_, value) = shown(value.cloned().unwrap_or(Value::Null));
        let what = without_middle(e.inner().to_string());
        Error::new(Code::InvalidArg, format!("`{option}`: {what}."))
            .with("option", option)
            .with("value", value)
            .with("expected", what)
    })
}

/// A whole number from `least` to as many as there are positions, of a JSON number; none for another.
pub fn whole(number: f64, least: u32) -> Option<usize> {
    let fits = number.fract() == 0.0 && (f64::from(least)..=f64::from(u32::MAX)).contains(&number);
    fits.then_some(number as usize)
}

/// serde repeats a value in its sentence, and that may be a book; what was expected comes last.
fn without_middle(what: String) -> String {
    const MOST: usize = 1000;
    let count = what.chars().count();
    if count <= MOST {
        return what;
    }
    let (start, end): (String, String) =
        (what.chars().take(80).collect(), what.chars().skip(count - MOST / 2).collect());
    format!("{start}...{end}")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Options {
        budget: u32,
        list: Option<Vec<u32>>,
    }

    fn refused(options: Value, name: &str) -> Error {
        read_options::<Options>(&options, name).unwrap_err()
    }

    #[test]
    fn a_failure_says_where_and_what() {
        for (options, name, message) in [
            (json!({ "bugdet": 4 }), "policy", "`policy.bugdet`: unknown field `bugdet`, expected `budget` or `list`."),
            (json!({ "budget": "x" }), "policy", "`policy.budget`: invalid type: string \"x\", expected u32."),
            (json!({}), "policy", "`policy`: missing field `budget`."),
            (json!({}), "", "`options`: missing field `budget`."),
            (json!({ "budget": 1, "list": [2, -3] }), "", "`list[1]`: invalid value: integer `-3`, expected u32."),
        ] {
            assert_eq!(refused(options, name).message, message);
        }
        let error = refused(json!({ "budget": 1, "list": [2, -3] }), "");
        assert_eq!((&error.details["option"], &error.details["value"]), (&json!("list[1]"), &json!(-3)));
        assert_eq!(error.details["expected"], "invalid value: integer `-3`, expected u32");
    }

    #[test]
    fn a_whole_number_has_no_fraction_and_fits() {
        let most = f64::from(u32::MAX);
        for (number, least, taken) in
            [(0.0, 0, Some(0)), (0.0, 1, None), (1.0, 1, Some(1)), (most, 1, Some(u32::MAX as usize)), (2.5, 1, None)]
        {
            assert_eq!(whole(number, least), taken, "{number} of at least {least}");
        }
        for number in [-1.0, most + 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(whole(number, 0), None, "{number}");
        }
    }

    #[test]
    fn a_book_is_not_printed() {
        let book = "page ".repeat(10_000);
        for options in [json!({ "document": book }), json!({ "budget": book }), json!([book])] {
            let error = refused(options, "");
            let printed = error.message.len() + Value::from(error.details).to_string().len();
            assert!(error.message.contains("expected") && printed < 3000, "{printed}: {}", error.message);
        }
        let error = Error::invalid_option("dtype", book.clone(), "auto");
        assert_eq!(error.message, format!("`dtype` is \"{}...; it must be auto.", &book[..76]));
        assert_eq!(error.details["value"], format!("\"{}...", &book[..76]));
        assert_eq!(Error::invalid_option("dtype", "x".repeat(78), "auto").details["value"], "x".repeat(78));
    }
}
