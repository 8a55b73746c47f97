use serde::{Deserialize, Serialize};
use skimlm_kernels::select::{Edge, Pool};

/// Smoothing over neighbouring tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PoolSpec {
    /// Average.
    Avg {
        /// Odd number of tokens.
        #[serde(deserialize_with = "odd")]
        width: usize,
        /// `zero`: the published padding; `valid`: a shorter window at the ends.
        #[serde(default)]
        edge: EdgeSpec,
    },
    /// Maximum.
    Max {
        /// Odd number of tokens.
        #[serde(deserialize_with = "odd")]
        width: usize,
    },
}

fn odd<'de, D: serde::Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    match usize::deserialize(d)? {
        width if width % 2 == 1 => Ok(width),
        _ => Err(serde::de::Error::custom("an odd number of tokens")),
    }
}

/// What a window does at the ends of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EdgeSpec {
    /// Outside counts as 0, the divisor stays.
    Zero,
    /// Only what is inside counts.
    #[default]
    Valid,
}

impl From<PoolSpec> for Pool {
    fn from(spec: PoolSpec) -> Self {
        match spec {
            PoolSpec::Avg { width, edge: EdgeSpec::Zero } => Self::Avg { width, edge: Edge::Zero },
            PoolSpec::Avg { width, edge: EdgeSpec::Valid } => Self::Avg { width, edge: Edge::Valid },
            PoolSpec::Max { width } => Self::Max { width },
        }
    }
}
