//! Options that several policies share.

mod budget;
mod pins;
mod pool;
mod score;
mod stage;

pub(crate) use budget::DEFAULT_BUDGET;
pub use budget::{Budget, Limit};
pub(crate) use pins::Pins;
pub(crate) use pool::{EdgeSpec, PoolKind, PoolSpec};
pub use score::{CONTRAST, POOL, WINDOW};
pub(crate) use score::{QueriesSpec, Quota, Round, Score};
pub(crate) use stage::StageSpec;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where kept tokens stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Positions {
    /// Renumbered from the first (GemFilter).
    #[default]
    Fresh,
    /// Where they stood in the prompt, with gaps.
    Original,
}
