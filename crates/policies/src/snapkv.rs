//! SnapKV (Li et al., arXiv 2404.14469): what the end of the prompt looks at stays in the cache.
//!
//! In every layer, at the end of its prefill, the softmax weights of the last `window` queries are
//! summed, smoothed, and the best entries of each head kept with the window itself. Prefill is not
//! faster; decoding and memory are.
//!
//! Deviations outside the presets: kv heads choose (published: query heads, after expanding the
//! cache), the smoothing window shortens at the ends (published: zeros), entries stay in prompt order
//! (published: rank order, equal up to summation order), `n <= budget` changes nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Policy, Reading, Result};

use crate::evict::{Even, Evict, HeadMode, Rule, WindowScores, check_budget};
use crate::options::{EdgeSpec, PoolKind, PoolSpec};
use crate::registry::{About, Context, Method};

/// Options of SnapKV.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SnapKv {
    /// Entries a head keeps, the window included.
    #[schemars(range(min = 2))]
    pub budget: usize,
    /// Last tokens whose queries ask and which always stay.
    #[schemars(range(min = 1))]
    pub window: usize,
    /// Smoothing of the weights over neighbouring entries.
    pub pool: PoolKind,
    /// Width of the smoothing, odd; none: 5 for the average, 7 for the maximum.
    #[schemars(range(min = 1), extend("not" = { "multipleOf": 2 }))]
    pub kernel: Option<usize>,
    /// What the average does at the ends of the prompt.
    pub edge: EdgeSpec,
    /// Who chooses.
    pub head_mode: HeadMode,
}

impl Default for SnapKv {
    fn default() -> Self {
        let (pool, edge, head_mode) = Default::default();
        Self { budget: 1024, window: 32, pool, kernel: None, edge, head_mode }
    }
}

impl SnapKv {
    pub(crate) fn rule(&self) -> Rule {
        let width = self.kernel.unwrap_or(match self.pool {
            PoolKind::Avg => 5,
            PoolKind::Max => 7,
        });
        let pool = PoolSpec { kind: self.pool, width, edge: self.edge }.into();
        Rule { recent: self.window, pool: Some(pool), ..Rule::default() }
    }

    pub(crate) fn scores(&self) -> WindowScores {
        WindowScores { window: self.window, heads: self.head_mode.heads() }
    }
}

impl Method for SnapKv {
    const KIND: &'static str = "snapkv";
    const ABOUT: About = About {
        idea: "After each layer's prefill, every head keeps the entries that the last tokens look at.",
        paper: "Li et al., SnapKV (arXiv 2404.14469)",
        good: "Long answers over a long prompt: decoding reads a short cache, the prompt is read in full.",
        bad: "Time to first token is that of full attention; a follow-up question finds what the first one kept.",
        cost: "Full prefill and one small product a layer; `budget` entries a head.",
    };
    const PRESETS: &'static [(&'static str, &'static str)] = &[
        ("snapkv-paper", r#"{"budget":1024,"window":32,"pool":"max","kernel":7,"edge":"zero","headMode":"query"}"#),
        ("snapkv-gemfilter", r#"{"budget":1024,"window":32,"pool":"avg","kernel":5,"edge":"zero","headMode":"query"}"#),
    ];

    fn check(&self, _: &Context<'_>) -> Result<()> {
        if self.window == 0 {
            return Err(Error::invalid_option("policy.window", 0, "at least 1"));
        }
        if let Some(kernel) = self.kernel
            && kernel % 2 == 0
        {
            return Err(Error::invalid_option("policy.kernel", kernel, "odd"));
        }
        check_budget(self.budget, self.window, "the window")
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        let share = Even(self.budget - self.window);
        Box::new(Evict::new(self.scores(), share, self.rule()))
    }

    fn reading(&self, _: &Context<'_>, _: usize) -> Reading {
        Reading::Evict { kept: self.budget, per_query_head: self.head_mode == HeadMode::Query }
    }
}
