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
