//! StreamingLLM (Xiao et al., arXiv 2309.17453): attention sinks and a sliding window.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Policy, Reading, Result};

use crate::evict::{Even, Evict, NoScore, Rule};
use crate::registry::{About, Context, Method};

/// Options of StreamingLLM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SinkWindow {
    /// First entries that stay.
    pub sink: usize,
    /// Last entries that stay.
    #[schemars(range(min = 1))]
    pub recent: usize,
}

impl Default for SinkWindow {
    fn default() -> Self {
        Self { sink: 4, recent: 1020 }
    }
}

impl Method for SinkWindow {
    const KIND: &'static str = "sinkwindow";
    const ABOUT: About = About {
        idea: "The first few and the most recent entries stay, whatever they say.",
        paper: "Xiao et al., Efficient Streaming Language Models with Attention Sinks (arXiv 2309.17453)",
        good: "Endless generation; a control that any method with scores must beat.",
        bad: "Everything in the middle is forgotten.",
        cost: "Full prefill; `sink + recent` entries. Positions stay original (published: slots).",
    };

    fn check(&self, _: &Context<'_>) -> Result<()> {
        match self.recent {
            0 => Err(Error::invalid_option("policy.recent", 0, "at least 1")),
            _ => Ok(()),
        }
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        let rule = Rule { sinks: self.sink, recent: self.recent, every_step: true, ..Rule::default() };
        Box::new(Evict::new(NoScore, Even(0), rule))
    }

    fn reading(&self, _: &Context<'_>, _: usize) -> Reading {
        Reading::Evict { kept: self.sink.saturating_add(self.recent), per_query_head: false }
    }
}
