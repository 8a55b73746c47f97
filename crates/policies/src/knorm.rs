//! Key norms (Devoto et al., arXiv 2406.11430): keys of small norm stay.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Measure, Policy, Reading, Result};

use crate::evict::{Even, Evict, OfKeys, Rule, check_budget};
use crate::registry::{About, Context, Method};
use crate::windows::check_none;

/// Options of the key-norm policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Knorm {
    /// Entries a kv head keeps.
    #[schemars(range(min = 2))]
    pub budget: usize,
}

impl Default for Knorm {
    fn default() -> Self {
        Self { budget: 1024 }
    }
}

impl Method for Knorm {
    const KIND: &'static str = "knorm";
    const ABOUT: About = About {
        idea: "Every kv head keeps the entries whose keys are shortest; no query is needed.",
        paper: "Devoto et al., A Simple and Effective L2 Norm-Based Strategy (arXiv 2406.11430)",
        good: "Compressing a document before the question is known.",
        bad: "Knows nothing of the question.",
        cost: "Full prefill; `budget` entries a kv head.",
    };

    fn check(&self, context: &Context<'_>) -> Result<()> {
        check_none(Self::KIND, context.shape, "a short key stays after the last row that sees it")?;
        check_budget(self.budget, 1, "the last token")
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        let rule = Rule { recent: 1, ..Rule::default() };
        Box::new(Evict::new(OfKeys(Measure::Length), Even(self.budget - 1), rule))
    }

    fn reading(&self, _: &Context<'_>, _: usize) -> Reading {
        Reading::Evict { kept: self.budget, per_query_head: false }
    }
}
