//! H2O (Zhang et al., arXiv 2306.14048): heavy hitters and recent tokens stay in the cache.
//!
//! An entry's score is the sum of the softmax weights that all queries so far gave it. The default
//! evicts at the end of the prompt and at every generated token, with carried sums; `h2o-gemfilter`
//! (the baseline of the GemFilter and PromptDistill papers) evicts once; `h2o-streaming` moves the
//! survivors to consecutive positions. Column sums take two sweeps, never a matrix of all pairs.
//!
//! Deviations outside the presets: kv heads choose (published: query heads); scores are f32.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Policy, Reading, Result};

use crate::evict::{Even, Evict, HeadMode, Rule, RunningSums};
use crate::options::Positions;
use crate::registry::{About, Context, Method};
use crate::windows::check_none;

/// Options of H2O.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct H2o {
    /// Entries kept for their sums.
    #[schemars(range(min = 1))]
    pub heavy: usize,
    /// Last entries, always kept.
    #[schemars(range(min = 1))]
    pub recent: usize,
    /// Evict at every generated token too.
    pub decode_evict: bool,
    /// Who chooses.
    pub head_mode: HeadMode,
    /// `fresh`: survivors move to consecutive positions (the streaming variant).
    pub positions: Positions,
}

impl Default for H2o {
    fn default() -> Self {
        let (heavy, recent) = (512, 512);
        Self { heavy, recent, decode_evict: true, head_mode: HeadMode::Kv, positions: Positions::Original }
    }
}

impl Method for H2o {
    const KIND: &'static str = "h2o";
    const ABOUT: About = About {
        idea: "Every head keeps the entries that all queries together looked at most, and the most recent ones.",
        paper: "Zhang et al., H2O: Heavy-Hitter Oracle (arXiv 2306.14048)",
        good: "Long generation under a fixed memory.",
        bad: "Prefill costs a second sweep of q.k in every layer; early tokens collect more sums than late ones.",
        cost: "Full prefill and half an attention more; `heavy + recent` entries a head.",
    };
    const PRESETS: &'static [(&'static str, &'static str)] = &[
        (
            "h2o-gemfilter",
            r#"{"heavy":4064,"recent":32,"decodeEvict":false,"headMode":"query","positions":"original"}"#,
        ),
        (
            "h2o-upstream",
            r#"{"heavy":1024,"recent":1024,"decodeEvict":true,"headMode":"query","positions":"original"}"#,
        ),
        ("h2o-streaming", r#"{"heavy":4,"recent":2000,"decodeEvict":true,"headMode":"query","positions":"fresh"}"#),
    ];

    fn check(&self, context: &Context<'_>) -> Result<()> {
        check_none(Self::KIND, context.shape, "a sum stays high after the last row that sees its entry")?;
        for (option, value) in [("policy.heavy", self.heavy), ("policy.recent", self.recent)] {
            if value == 0 {
                return Err(Error::invalid_option(option, 0, "at least 1"));
            }
        }
        Ok(())
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        let rule = Rule {
            recent: self.recent,
            every_step: self.decode_evict,
            renumber: self.positions == Positions::Fresh,
            ..Rule::default()
        };
        Box::new(Evict::new(RunningSums::new(self.head_mode.heads()), Even(self.heavy), rule))
    }

    fn reading(&self, _: &Context<'_>, _: usize) -> Reading {
        Reading::Evict {
            kept: self.heavy.saturating_add(self.recent),
            per_query_head: self.head_mode == HeadMode::Query,
        }
    }
}
