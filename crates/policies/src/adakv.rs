//! Ada-KV (Feng et al., arXiv 2407.11550): SnapKV's scores, heads compete for their layer's budget.
//!
//! Deviations: heads get their certain part first and compete for the rest (published: they compete for everything, and
//! each then gets a mixture of what it won and the even part); kv heads choose (published: query heads); scores are
//! averages of 5 (published: maxima of 7), shortened at the ends as in SnapKV's defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Policy, Reading, Result};

use crate::evict::{Across, Evict};
use crate::registry::{About, Context, Method};
use crate::snapkv::SnapKv;

/// Options of Ada-KV.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AdaKv {
    /// Entries a kv head keeps on average over the heads of a layer, the window included.
    #[schemars(range(min = 2))]
    pub budget: usize,
    /// Last tokens whose queries ask and which always stay.
    #[schemars(range(min = 1))]
    pub window: usize,
    /// Share of its even part that a head has for certain, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub floor: f64,
}

impl Default for AdaKv {
    fn default() -> Self {
        Self { budget: 1024, window: 32, floor: 0.2 }
    }
}

impl AdaKv {
    fn scores(&self) -> SnapKv {
        SnapKv { budget: self.budget, window: self.window, ..SnapKv::default() }
    }
}

impl Method for AdaKv {
    const KIND: &'static str = "adakv";
    const ABOUT: About = About {
        idea: "SnapKV with one budget a layer: heads that look at much keep much.",
        paper: "Feng et al., Ada-KV (arXiv 2407.11550)",
        good: "Small budgets, where some heads look at a few tokens and others at many.",
        bad: "As SnapKV.",
        cost: "Full prefill; `budget` entries a kv head on average over a layer's heads.",
    };

    fn check(&self, context: &Context<'_>) -> Result<()> {
        if !(0.0..=1.0).contains(&self.floor) {
            return Err(Error::invalid_option("policy.floor", self.floor, "a share from 0 to 1"));
        }
        self.scores().check(context)
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        let snapkv = self.scores();
        let share = Across { entries: self.budget - self.window, floor: self.floor };
        Box::new(Evict::new(snapkv.scores(), share, snapkv.rule()))
    }

    fn reading(&self, _: &Context<'_>, _: usize) -> Reading {
        Reading::Evict { kept: self.budget, per_query_head: false }
    }
}
