use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Result};

use super::{Budget, Score};
use crate::registry::Context;
use crate::windows::check_layer;

/// A layer at which a pass narrows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Stage")]
pub(crate) struct StageSpec {
    /// The layer that chooses, 0-based.
    pub layer: usize,
    /// Tokens it keeps; a ratio is of the whole prompt.
    pub budget: Budget,
    /// How tokens are scored.
    #[serde(default)]
    pub score: Score,
}

impl StageSpec {
    /// How errors call an option of the `i`-th stage.
    pub(crate) fn option(i: usize, name: &str) -> String {
        format!("policy.stages[{i}].{name}")
    }

    /// Refuses stages that do not ascend, name heads the model lacks, or cannot see the whole prompt. The
    /// last one may choose at `highest` at most.
    pub(crate) fn check(stages: &[Self], kind: &str, highest: usize, context: &Context<'_>) -> Result<()> {
        let mut lowest = 0;
        for (i, stage) in stages.iter().enumerate() {
            let option = |name| Self::option(i, name);
            if stage.layer > highest || stage.layer < lowest {
                let expected = format!("{lowest} to {highest}: stages ascend and a later layer must be left");
                return Err(Error::invalid_option(&option("layer"), stage.layer, expected));
            }
            stage.budget.check_scored(&stage.score, &option("budget"))?;
            stage.score.check(context.shape.heads, &option("score"))?;
            let listens = stage.score.layers_before(stage.layer);
            if listens.start < lowest {
                let expected = format!("layers {lowest} to {}: between the stage before and its own", stage.layer);
                return Err(Error::invalid_option(&option("score"), listens.start, expected));
            }
            if let Some(listed) = stage.score.listed_layers().find(|l| !(lowest..=stage.layer).contains(l)) {
                let expected = format!("heads of layers {lowest} to {}, the stage's own", stage.layer);
                return Err(Error::invalid_option(&option("score.heads"), listed, expected));
            }
            if context.forced.is_none() {
                stage.score.layers(stage.layer).into_iter().try_for_each(|l| check_layer(kind, l, context.shape))?;
            }
            lowest = stage.layer + 1;
        }
        Ok(())
    }
}
