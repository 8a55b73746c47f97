//! PyramidKV (Cai et al., arXiv 2406.02069): SnapKV's scores, more entries in low layers.
//!
//! Deviations: kv heads choose (published: query heads; `headMode` says so); a prompt that the bottom layer could keep
//! whole makes the line flatter (the published code keeps the same number everywhere below twice the budget); the line
//! ends at the top layer's share (published: steps are rounded down); smoothing as in SnapKV's defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Policy, Reading, Result};

use crate::evict::{Evict, HeadMode, Pyramid};
use crate::registry::{About, Context, Method};
use crate::snapkv::SnapKv;

/// Options of PyramidKV.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PyramidKv {
    /// Entries a head keeps on average over the layers, the window included.
    #[schemars(range(min = 2))]
    pub budget: usize,
    /// Last tokens whose queries ask and which always stay.
    #[schemars(range(min = 1))]
    pub window: usize,
    /// The top layer keeps one part in this many of the average, or more where the bottom layer has fewer entries than
    /// twice the average.
    #[schemars(range(min = 1))]
    pub slope: usize,
    /// Who chooses.
    pub head_mode: HeadMode,
}

impl Default for PyramidKv {
    fn default() -> Self {
        Self { budget: 1024, window: 32, slope: 20, head_mode: HeadMode::Kv }
    }
}

impl PyramidKv {
    fn scores(&self) -> SnapKv {
        SnapKv { budget: self.budget, window: self.window, head_mode: self.head_mode, ..SnapKv::default() }
    }
}

impl Method for PyramidKv {
    const KIND: &'static str = "pyramidkv";
    const ABOUT: About = About {
        idea: "SnapKV with a budget that shrinks from layer to layer.",
        paper: "Cai et al., PyramidKV (arXiv 2406.02069)",
        good: "Very small budgets, where low layers need more entries than high ones.",
        bad: "As SnapKV.",
        cost: "Full prefill; `budget` entries a head on average over the layers.",
    };

    fn check(&self, context: &Context<'_>) -> Result<()> {
        if self.slope == 0 {
            return Err(Error::invalid_option("policy.slope", 0, "at least 1"));
        }
        self.scores().check(context)
    }

    fn build(self, context: &Context<'_>) -> Box<dyn Policy> {
        let (layers, slope) = (context.shape.layers.len(), self.slope);
        let share = Pyramid::new(self.budget - self.window, layers, slope);
        let snapkv = self.scores();
        Box::new(Evict::new(snapkv.scores(), share, snapkv.rule()))
    }

    fn reading(&self, _: &Context<'_>, _: usize) -> Reading {
        Reading::Evict { kept: self.budget, per_query_head: self.head_mode == HeadMode::Query }
    }
}
