//! TOVA (Oren et al., arXiv 2401.06104): at every token the entry it looks at least goes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Heads, Policy, Reading, Result};

use crate::evict::{Even, Evict, Rule, WindowScores, check_budget};
use crate::registry::{About, Context, Method};

/// Options of TOVA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tova {
    /// Entries a layer keeps.
    #[schemars(range(min = 2))]
    pub budget: usize,
}

impl Default for Tova {
    fn default() -> Self {
        Self { budget: 1024 }
    }
}

impl Method for Tova {
    const KIND: &'static str = "tova";
    const ABOUT: About = About {
        idea: "A layer keeps the entries that the newest token looks at most, on average over its heads.",
        paper: "Oren et al., Transformers are Multi-State RNNs (arXiv 2401.06104)",
        good: "Long generation under a fixed memory, without carried sums.",
        bad: "One query decides: what the next token needs and this one does not is gone.",
        cost: "Full prefill; `budget` entries a layer.",
    };

    fn check(&self, _: &Context<'_>) -> Result<()> {
        check_budget(self.budget, 1, "the newest token")
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        let rule = Rule { recent: 1, every_step: true, ..Rule::default() };
        Box::new(Evict::new(WindowScores { window: 1, heads: Heads::Mean }, Even(self.budget - 1), rule))
    }

    fn reading(&self, _: &Context<'_>, _: usize) -> Reading {
        Reading::Evict { kept: self.budget, per_query_head: false }
    }
}
