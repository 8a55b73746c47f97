use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Result};

use super::Score;

/// Where nobody says how many tokens to keep.
pub(crate) const DEFAULT_BUDGET: Budget = Budget::Tokens(1024);

/// How many tokens to keep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a whole number of at least 1, { ratio } with a share above 0 and up to 1, or { coverage, max }"
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
    /// As many of the best tokens as together hold a share of the scores.
    Coverage {
        /// Share of the scores of all tokens that are not pinned: above 0, up to 1.
        #[serde(deserialize_with = "share")]
        #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
        coverage: f64,
        /// At least this many tokens.
        #[serde(default = "one", deserialize_with = "whole")]
        #[schemars(range(min = 1))]
        min: usize,
        /// At most this many tokens.
        max: Limit,
    },
}

/// The most tokens that a budget may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields, expecting = "a whole number of at least 1, or { ratio }")]
pub enum Limit {
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

impl Limit {
    fn of(self, n: usize) -> usize {
        match self {
            Self::Tokens(k) => k,
            Self::Share { ratio } => (ratio * n as f64).ceil() as usize,
        }
    }
}

fn one() -> usize {
    1
}

impl Budget {
    /// Tokens for a prompt of `n`, at most.
    pub fn of(self, n: usize) -> usize {
        match self {
            Self::Tokens(k) => k,
            Self::Share { ratio } => Limit::Share { ratio }.of(n),
            Self::Coverage { max, .. } => max.of(n),
        }
    }

    /// Whether it leaves out none of the `left` tokens of a prompt of `n`, whatever they score. A coverage may always.
    pub(crate) fn holds(self, n: usize, left: usize) -> bool {
        !matches!(self, Self::Coverage { .. }) && self.of(n) >= left
    }

    /// Refuses what only scores can fill.
    pub(crate) fn check_blind(self) -> Result<()> {
        if let Self::Coverage { .. } = self {
            let expected = "a number or a ratio, because nothing is scored";
            return Err(Error::invalid_option("policy.budget", serde_json::json!(self), expected));
        }
        Ok(())
    }

    /// Refuses shares of scores, in `option`, where the scores do not add up.
    pub(crate) fn check_scored(self, score: &Score, option: &str) -> Result<()> {
        if matches!(self, Self::Coverage { .. }) && !score.softmax {
            let expected = "a number or a ratio where scores are raw: only shares of a softmax add up";
            return Err(Error::invalid_option(option, serde_json::json!(self), expected));
        }
        Ok(())
    }

    /// How many of `free` tokens the scores call for. `candidates` are the scores of what is not pinned.
    pub fn covering(self, candidates: impl Iterator<Item = f32>, free: usize) -> usize {
        let Self::Coverage { coverage, min, .. } = self else {
            return free;
        };
        let mut scores: Vec<f64> = candidates.map(f64::from).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let wanted = coverage * scores.iter().sum::<f64>();
        let mut held = 0.0;
        let enough = scores.iter().position(|s| {
            held += s;
            held >= wanted
        });
        enough.map_or(free, |last| last + 1).max(min).min(free)
    }
}

pub(super) fn whole<'de, D: serde::Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    let expected = || serde::de::Error::custom("a whole number of at least 1");
    skimlm_core::whole(f64::deserialize(d)?, 1).ok_or_else(expected)
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
        let coverage = Budget::Coverage { coverage: 0.5, min: 1, max: Limit::Tokens(9) };
        assert_eq!(read(json!({ "coverage": 0.5, "max": 9 })), Some(coverage));
        assert_eq!(read(json!({ "coverage": 0.5 })), None);
        let most = |ratio| Budget::Coverage { coverage: 0.5, min: 1, max: Limit::Share { ratio } };
        assert_eq!(read(json!({ "coverage": 0.5, "max": { "ratio": 0.1 } })), Some(most(0.1)));
        assert_eq!(most(0.1).of(11), 2);
        assert_eq!(read(json!({ "coverage": 0.5, "max": { "ratio": 2 } })), None);
    }

    #[test]
    fn what_looks_at_nothing_covers_nothing() {
        assert!(Budget::Coverage { coverage: 0.5, min: 1, max: Limit::Tokens(8) }.check_blind().is_err());
        assert!(Budget::Share { ratio: 0.5 }.check_blind().is_ok() && Budget::Tokens(1).check_blind().is_ok());
    }

    #[test]
    fn coverage_takes_the_best_until_they_hold_the_share() {
        let of = |coverage, min, free| {
            Budget::Coverage { coverage, min, max: Limit::Tokens(8) }.covering([1.0, 6.0, 0.0, 3.0].into_iter(), free)
        };
        assert_eq!((of(0.5, 1, 4), of(0.6, 1, 4), of(0.61, 1, 4), of(1.0, 1, 4)), (1, 1, 2, 3));
        assert_eq!((of(0.5, 3, 4), of(1.0, 1, 2)), (3, 2), "clamped");
        assert_eq!(Budget::Tokens(3).covering([1.0].into_iter(), 7), 7);
    }
}
