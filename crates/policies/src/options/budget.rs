use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many tokens to keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a whole number of at least 1, or { ratio } with a share above 0 and up to 1"
)]
pub enum Budget {
    /// This many.
    Tokens(
        #[serde(deserialize_with = "whole")]
        #[schemars(range(min = 1))]
        usize,
    ),
    /// A share of the prompt, rounded up.
    Share {
        /// Above 0, up to 1.
        #[serde(deserialize_with = "share")]
        #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
        ratio: f64,
    },
}

impl Budget {
    /// Tokens for a prompt of `n`.
    pub fn of(self, n: usize) -> usize {
        match self {
            Self::Tokens(k) => k,
            Self::Share { ratio } => (ratio * n as f64).ceil() as usize,
        }
    }
}

pub(super) fn whole<'de, D: serde::Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    let value = f64::deserialize(d)?;
    if value >= 1.0 && value.fract() == 0.0 && value <= u32::MAX.into() {
        Ok(value as usize)
    } else {
        Err(serde::de::Error::custom("a whole number of at least 1"))
    }
}

fn share<'de, D: serde::Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(d)?;
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err(serde::de::Error::custom("a share above 0 and up to 1")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_share_is_rounded_up() {
        assert_eq!(Budget::Share { ratio: 0.1 }.of(11), 2);
        assert_eq!(Budget::Share { ratio: 0.01 }.of(1), 1);
        assert_eq!(Budget::Share { ratio: 1.0 }.of(7), 7);
        assert_eq!(Budget::Tokens(5).of(3), 5);
    }

    #[test]
    fn only_whole_numbers_and_shares_are_budgets() {
        let read = |value| serde_json::from_value::<Budget>(value).ok();
        assert_eq!(read(json!(4)), Some(Budget::Tokens(4)));
        assert_eq!(read(json!(4.0)), Some(Budget::Tokens(4)));
        assert_eq!(read(json!({ "ratio": 0.5 })), Some(Budget::Share { ratio: 0.5 }));
        for bad in
            [json!(0), json!(-1), json!(1.5), json!(5e9), json!("4"), json!({ "ratio": 0 }), json!({ "ratio": 1.1 })]
        {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
        assert_eq!(read(json!({ "ratio": 0.5, "of": "all" })), None);
    }
}
