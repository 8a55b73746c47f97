//! KeyDiff (Park et al., arXiv 2504.15364): keys that are unlike the others stay.
//!
//! An entry's score is minus the cosine of its key, as rotated in the cache, with the mean of the kv
//! head's keys, each divided by its length first. The paper's pairwise similarities come to the same order,
//! and no query or attention weight is needed.
//!
//! Deviations: the published method reads a prompt in blocks and evicts after each of them and while it
//! generates, so that the cache never exceeds the budget; here the whole prompt is read, and entries go once,
//! at its end. The last token always stays. Scores are f32 over keys as the cache holds them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Measure, Policy, Reading, Result};

use crate::evict::{Even, Evict, OfKeys, Rule, check_budget};
use crate::registry::{About, Context, Method};
use crate::windows::check_none;

/// Options of KeyDiff.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyDiff {
    /// Entries a kv head keeps.
    #[schemars(range(min = 2))]
    pub budget: usize,
}

impl Default for KeyDiff {
    fn default() -> Self {
        Self { budget: 1024 }
    }
}

impl Method for KeyDiff {
    const KIND: &'static str = "keydiff";
    const ABOUT: About = About {
        idea: "Every kv head keeps the entries whose keys are least like the mean of its keys; no query is needed.",
        paper: "Park et al., KeyDiff: Key Similarity-Based KV Cache Eviction (arXiv 2504.15364)",
        good: "Compressing a document before the question is known.",
        bad: "Knows nothing of the question; what stands out is not always what matters.",
        cost: "Full prefill and two readings of the keys; `budget` entries a kv head.",
    };

    fn check(&self, context: &Context<'_>) -> Result<()> {
        check_none(Self::KIND, context.shape, "a key that stands out stays after the last row that sees it")?;
        check_budget(self.budget, 1, "the last token")
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        let rule = Rule { recent: 1, ..Rule::default() };
        Box::new(Evict::new(OfKeys(Measure::Likeness), Even(self.budget - 1), rule))
    }

    fn reading(&self, _: &Context<'_>, _: usize) -> Reading {
        Reading::Evict { kept: self.budget, per_query_head: false }
    }
}
