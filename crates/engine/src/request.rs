use serde::Deserialize;
use serde_json::Value;
use skimlm_core::{Error, Result, read_options, whole};
use skimlm_policies::PolicySpec;

use crate::sample::Sampling;
use crate::text::{Prompt, StopMatcher};

/// Tokens that are generated unless the request says otherwise.
pub const DEFAULT_NEW_TOKENS: usize = 256;

/// What to do with a prompt that does not fit the model's positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Refuse it.
    #[default]
    Error,
    /// Leave out the beginning of the document.
    TruncateStart,
    /// Leave out the middle of the document.
    TruncateMiddle,
}

/// Text that must survive the selection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct UserPins {
    /// Ranges of UTF-16 code units of the document.
    pub text: Vec<(u32, u32)>,
}

/// One generation, as plain data.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to read.
    pub prompt: Prompt,
    /// How to read it.
    pub policy: PolicySpec,
    /// Text that must survive the selection.
    pub pins: UserPins,
    /// A selection to replay: prompt indices, ascending.
    pub force_indices: Option<Vec<u32>>,
    /// Tokens to generate at most.
    pub max_new_tokens: usize,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Strings that end the text; they are not part of it.
    pub stop: Vec<String>,
    /// What to do with a prompt that is too long.
    pub overflow: Overflow,
    /// Choose what to read and stop there.
    pub select_only: bool,
    /// Report the score of every token, not of the kept ones only.
    pub all_scores: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    prompt: Prompt,
    policy: Option<Value>,
    #[serde(default)]
    pins: UserPins,
    force_indices: Option<Vec<u32>>,
    max_new_tokens: Option<Value>,
    #[serde(default)]
    sampling: Sampling,
    #[serde(default)]
    stop: Vec<String>,
    #[serde(default)]
    overflow: Overflow,
    #[serde(default)]
    select_only: bool,
    #[serde(default)]
    all_scores: bool,
}

impl Request {
    /// A greedy generation under the default policy, `auto`.
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            policy: PolicySpec::default(),
            pins: UserPins::default(),
            force_indices: None,
            max_new_tokens: DEFAULT_NEW_TOKENS,
            sampling: Sampling::default(),
            stop: Vec::new(),
            overflow: Overflow::default(),
            select_only: false,
            all_scores: false,
        }
    }

    /// Reads a request; everything that can be checked without a model is checked here
    /// (`ERR_INVALID_ARG`).
    pub fn parse(value: &Value) -> Result<Self> {
        let form: Form = read_options(value, "")?;
        form.sampling.validate()?;
        StopMatcher::new(&form.stop)?;
        Ok(Self {
            policy: form.policy.as_ref().map(PolicySpec::parse).transpose()?.unwrap_or_default(),
            max_new_tokens: form.max_new_tokens.map_or(Ok(DEFAULT_NEW_TOKENS), |v| new_tokens(&v))?,
            prompt: form.prompt,
            pins: form.pins,
            force_indices: form.force_indices,
            sampling: form.sampling,
            stop: form.stop,
            overflow: form.overflow,
            select_only: form.select_only,
            all_scores: form.all_scores,
        })
    }
}

pub(crate) fn new_tokens(value: &Value) -> Result<usize> {
    let refused = || Error::invalid_option("maxNewTokens", value.clone(), "a whole number of at least 1");
    value.as_f64().and_then(|number| whole(number, 1)).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let request = Request::parse(&json!({ "prompt": "a" })).unwrap();
        assert_eq!(request.policy.kind(), "auto");
        assert_eq!(request.max_new_tokens, DEFAULT_NEW_TOKENS);
        assert_eq!(request.overflow, Overflow::Error);
    }

    #[test]
    fn the_number_of_new_tokens_is_whole_and_fits_positions() {
        let most = u64::from(u32::MAX);
        for (n, taken) in [(0, false), (1, true), (most, true), (most + 1, false)] {
            assert_eq!(new_tokens(&n.into()).ok(), taken.then_some(n as usize), "{n}");
        }
        assert!(new_tokens(&json!(1.5)).is_err() && new_tokens(&json!("1")).is_err());
    }

    #[test]
    fn bad_options_are_refused_by_name() {
        for (bad, option) in [
            (json!({ "prompt": "a", "maxNewTokens": 0 }), "maxNewTokens"),
            (json!({ "prompt": "a", "maxNewTokens": 1.5 }), "maxNewTokens"),
            (json!({ "prompt": "a", "sampling": { "temperature": -1 } }), "temperature"),
            (json!({ "prompt": "a", "stop": [""] }), "stop"),
            (json!({ "prompt": "a", "overflow": "cut" }), "overflow"),
            (json!({ "prompt": "a", "policy": { "kind": "gemfilter", "budget": 0 } }), "policy.budget"),
        ] {
            let error = Request::parse(&bad).unwrap_err();
            assert_eq!(error.code.as_str(), "ERR_INVALID_ARG", "{bad}");
            assert_eq!(error.details["option"], option, "{error}");
        }
    }
}
