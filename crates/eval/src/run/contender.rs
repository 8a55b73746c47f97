use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skimlm_core::{Result, Role};
use skimlm_engine::Loaded;
use skimlm_engine::text::Source;
use skimlm_policies::{Context, PolicySpec};

use super::prompt::Reading;
use crate::{Case, bm25};

/// A policy under its name in the tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contender {
    /// What to call it.
    pub name: String,
    /// `{ kind, ...options }`, or `{ kind: "bm25", budget }` for the control that reads words only.
    pub policy: Value,
}

/// A contender on one case.
pub(crate) struct Chosen {
    pub(crate) policy: PolicySpec,
    pub(crate) forced: Option<Vec<u32>>,
}

impl Contender {
    /// Refuses what cannot run on this model.
    pub(crate) fn check(&self, loaded: &Loaded) -> Result<()> {
        if self.bm25_budget().is_some() {
            return Ok(());
        }
        let context = Context::new(loaded.model.shape(), loaded.info.file.default_filter_layer);
        PolicySpec::parse(&self.policy)?.check(&context)
    }

    /// Whether it reads everything.
    pub(crate) fn is_full(&self) -> bool {
        self.policy.get("kind").and_then(Value::as_str) == Some("full")
    }

    pub(crate) fn on(&self, case: &Case, reading: &Reading, loaded: &Loaded) -> Result<Chosen> {
        let Some(budget) = self.bm25_budget() else {
            return Ok(Chosen { policy: PolicySpec::parse(&self.policy)?, forced: None });
        };
        // Everything but the document stays, as with the other policies' pins.
        let rows = &reading.assembled.rows;
        let origins = &reading.assembled.origins;
        let pinned = |i: usize| rows.roles[i] != Role::Document || origins[i].source != Source::Document;
        let pins: Vec<u32> = (0..rows.len()).filter(|&i| pinned(i)).map(|i| i as u32).collect();
        let count = |text: &str| loaded.tokenizer.encode(text, false).map_or(usize::MAX, |ids| ids.len());
        let left = budget.saturating_sub(pins.len());
        let places = bm25(&case.document, &case.question, left, &count);
        let mut forced = reading.tokens_of(&places);
        forced.extend(pins);
        forced.sort_unstable();
        forced.dedup();
        Ok(Chosen { policy: PolicySpec::parse(&json!({ "kind": "gemfilter" }))?, forced: Some(forced) })
    }

    fn bm25_budget(&self) -> Option<usize> {
        let kind = self.policy.get("kind")?.as_str()?;
        (kind == "bm25").then(|| self.policy.get("budget").and_then(Value::as_u64).unwrap_or(1024) as usize)
    }
}
