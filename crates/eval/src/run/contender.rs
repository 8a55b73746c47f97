use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skimlm_core::{Policy, Result, read_options};
use skimlm_engine::Loaded;
use skimlm_policies::{Budget, PolicySpec};

use super::prompt::{ReadCase, counter};
use crate::{Case, bm25};

/// A policy under its name in the tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Contender {
    /// What to call it.
    pub name: String,
    /// `{ kind, ...options }`, or [`Bm25`].
    pub policy: Value,
}

/// The control that reads words only: `{ kind: "bm25", budget }`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bm25 {
    kind: Bm25Kind,
    /// Tokens of the prompt that stay.
    budget: Budget,
    /// Whether what is around the document, which always stays, counts towards the budget.
    #[serde(default = "yes")]
    charge_budget: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Bm25Kind {
    Bm25,
}

fn yes() -> bool {
    true
}

/// A contender on one case.
pub(crate) struct Chosen {
    pub(crate) policy: PolicySpec,
    pub(crate) forced: Option<Vec<u32>>,
}

impl Chosen {
    pub(crate) fn build(&self, loaded: &Loaded) -> Result<Box<dyn Policy>> {
        loaded.policy(&self.policy, self.forced.as_deref())
    }
}

impl Contender {
    /// Refuses what cannot run on this model.
    pub(crate) fn check(&self, loaded: &Loaded) -> Result<()> {
        if self.bm25()?.is_some() {
            return Ok(());
        }
        let policy = PolicySpec::parse(&self.policy)?;
        loaded.with_context(&policy, None, |context| policy.check(context))
    }

    /// Whether it reads everything.
    pub(crate) fn is_full(&self) -> bool {
        self.policy.get("kind").and_then(Value::as_str) == Some("full")
    }

    pub(crate) fn on(&self, case: &Case, reading: &ReadCase, loaded: &Loaded) -> Result<Chosen> {
        let Some(bm) = self.bm25()? else {
            return Ok(Chosen { policy: PolicySpec::parse(&self.policy)?, forced: None });
        };
        // Everything but the document stays, as with the other policies' pins.
        let n = reading.assembled.rows.len();
        let pins: Vec<u32> = (0..n).filter(|&i| !reading.is_document(i)).map(|i| i as u32).collect();
        let count = counter(loaded);
        let left = bm.budget.of(n).saturating_sub(if bm.charge_budget { pins.len() } else { 0 });
        let places = bm25(&case.document, &case.question, left, &count);
        let mut forced = reading.tokens_of(&places);
        forced.extend(pins);
        forced.sort_unstable();
        forced.dedup();
        Ok(Chosen { policy: PolicySpec::parse(&json!({ "kind": "gemfilter" }))?, forced: Some(forced) })
    }

    fn bm25(&self) -> Result<Option<Bm25>> {
        let is = self.policy.get("kind").and_then(Value::as_str) == Some("bm25");
        is.then(|| read_options(&self.policy, "policy")).transpose()
    }
}
