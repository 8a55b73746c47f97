use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Policy, Result};

use crate::registry::{About, Context, Method};

/// Full attention: every token is read by every layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Full {}

impl Policy for Full {
    fn is_steady(&self) -> bool {
        true
    }
}

impl Method for Full {
    const KIND: &'static str = "full";
    const ABOUT: About = About {
        idea: "Every token is read by every layer and stays in the KV cache.",
        paper: "Vaswani et al., Attention Is All You Need (arXiv 1706.03762)",
        good: "Short prompts, summaries of everything, and as the yardstick of every other policy.",
        bad: "Long prompts: time grows with the square of the length, memory with the length.",
        cost: "All layers on all n tokens; n cache entries a layer.",
    };

    fn check(&self, _: &Context<'_>) -> Result<()> {
        Ok(())
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        Box::new(self)
    }
}
