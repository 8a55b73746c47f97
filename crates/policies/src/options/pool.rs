use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_kernels::select::{Edge, Pool};

/// Smoothing over neighbouring tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Pool")]
pub struct PoolSpec {
    /// Average or maximum.
    pub kind: PoolKind,
    /// Tokens under the window, an odd number.
    #[serde(deserialize_with = "odd")]
    #[schemars(range(min = 1), extend("not" = { "multipleOf": 2 }))]
    pub width: usize,
    /// What an average does at the ends of the prompt; a maximum has no need of it.
    #[serde(default)]
    pub edge: EdgeSpec,
}

/// What smoothing takes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PoolKind {
    /// Its average.
    #[default]
    Avg,
    /// Its maximum.
    Max,
}

fn odd<'de, D: serde::Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    match usize::deserialize(d)? {
        width if width % 2 == 1 => Ok(width),
        _ => Err(serde::de::Error::custom("an odd number of tokens")),
    }
}

/// What an average does at the ends of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Edge")]
pub enum EdgeSpec {
    /// Outside counts as 0, the divisor stays.
    Zero,
    /// Only what is inside counts.
    #[default]
    Valid,
}

impl From<PoolSpec> for Pool {
    fn from(spec: PoolSpec) -> Self {
        let width = spec.width;
        match (spec.kind, spec.edge) {
            (PoolKind::Avg, EdgeSpec::Zero) => Self::Avg { width, edge: Edge::Zero },
            (PoolKind::Avg, EdgeSpec::Valid) => Self::Avg { width, edge: Edge::Valid },
            (PoolKind::Max, _) => Self::Max { width },
        }
    }
}
