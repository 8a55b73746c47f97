//! AnLLM (Pang et al., arXiv 2402.07616): a model trained to put what a segment says into its last
//! token, the anchor; then the cache keeps anchors and the open segment.
//!
//! Who sees whom is [`Visibility::Anchored`], in training, in the prompt and in generation alike. When a
//! segment has ended, every layer drops its other entries, in the prompt as soon as the layer has
//! attended. Positions are the session's counter, so chunks of any size and single tokens give the
//! logits of one masked pass.
//!
//! Deviations: the reference mixes up masks when a chunk holds an anchor behind an open segment, takes
//! positions from the cache's length and carries its list of anchors into the next prompt; none of that
//! is done here. Pinned tokens (the caller's, the question, first ones) stay visible and end no segment,
//! which the paper does not have; the preset `anllm-paper` has none.
//!
//! On a model that was not trained for it, anchors carry next to nothing: it is then the policy "keep
//! sentence ends and the question".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{
    ANCHOR, Error, Evidence, PINNED, Pass, Policy, Report, Result, Seen, Selection, Shape, Step, Visibility,
};

use crate::options::Pins;
use crate::registry::{About, Context, Method};

/// Which tokens are anchors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a list of token ids, `sentence`, or the text of a token")]
pub(crate) enum AnchorSpec {
    /// These token ids.
    Ids(Vec<u32>),
    /// `sentence`: tokens that end a sentence. Anything else is the text of a token, such as `<AC>`.
    Rule(String),
}

/// Options of AnLLM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AnLlm {
    /// Token ids, `sentence` for the tokens that end a sentence, or the text of a token such as `<AC>`.
    pub anchors: AnchorSpec,
    /// First tokens of the prompt that stay: stock models need some (attention sinks).
    pub sinks: usize,
    /// Whether the question stays.
    pub question: bool,
    /// Last tokens of the prompt that stay.
    pub last: usize,
}

impl Default for AnLlm {
    fn default() -> Self {
        Self { anchors: AnchorSpec::Rule("sentence".into()), sinks: 0, question: true, last: 0 }
    }
}

impl Method for AnLlm {
    const KIND: &'static str = "anllm";
    const ABOUT: About = About {
        idea: "Only the last token of each segment stays in the cache, in a model trained to put the segment into it.",
        paper: "Pang et al., Anchor-based Large Language Models (arXiv 2402.07616)",
        good: "Models trained with the anchor mask: a tenth to a hundredth of the cache; demonstrations that are read once and reused.",
        bad: "Stock models: there it is no more than \"keep sentence ends and the question\".",
        cost: "Prefill attends to segments and anchors only; the cache holds anchors, pins and the open segment.",
    };
    const PRESETS: &'static [(&'static str, &'static str)] =
        &[("anllm-paper", r#"{"anchors":"sentence","sinks":0,"question":false,"last":0}"#)];

    fn check(&self, context: &Context<'_>) -> Result<()> {
        let shape = context.shape;
        match &self.anchors {
            AnchorSpec::Ids(ids) if ids.is_empty() => {
                Err(Error::invalid_option("policy.anchors", Vec::<u32>::new(), "at least one token id"))
            }
            AnchorSpec::Ids(ids) => match ids.iter().find(|&&id| id as usize >= shape.vocab) {
                Some(&id) => {
                    let expected = format!("made of token ids below {}", shape.vocab);
                    Err(Error::invalid_option("policy.anchors", id, expected))
                }
                None => Ok(()),
            },
            AnchorSpec::Rule(_) => Ok(()),
        }
    }

    fn token_rule(&self) -> Option<(&'static str, &str)> {
        match &self.anchors {
            AnchorSpec::Rule(rule) => Some(("policy.anchors", rule)),
            AnchorSpec::Ids(_) => None,
        }
    }

    fn build(self, context: &Context<'_>) -> Box<dyn Policy> {
        let mut anchors = match self.anchors {
            AnchorSpec::Ids(ids) => ids,
            AnchorSpec::Rule(_) => context.tokens.to_vec(),
        };
        anchors.sort_unstable();
        let Self { sinks, question, last, .. } = self;
        let pins = Pins { sinks, question, last, template: false, system: false, charge_budget: false };
        Box::new(Anchors { anchors, pins, report: None })
    }
}

struct Anchors {
    /// Ascending.
    anchors: Vec<u32>,
    pins: Pins,
    report: Option<Report>,
}

impl Policy for Anchors {
    fn begin(&mut self, mut prompt: Pass, _: &Shape) -> Result<Pass> {
        let pinned = self.pins.flags(&prompt.rows);
        for (tag, pinned) in prompt.rows.tags.iter_mut().zip(pinned) {
            if pinned {
                *tag = PINNED;
            }
        }
        let (kept, n) = (kept(&prompt.rows.tags), prompt.rows.len());
        let anchors = prompt.rows.tags.iter().filter(|&&tag| tag == ANCHOR).count();
        self.report = Some(Report {
            budget: kept.len(),
            scores: vec![1.0; kept.len()],
            reason: format!("{anchors} anchors, pins and the open segment: {} of {n} tokens stay", kept.len()),
            indices: kept,
            ..Report::default()
        });
        Ok(prompt)
    }

    fn tag(&mut self, token: u32) -> u32 {
        if self.anchors.binary_search(&token).is_ok() { ANCHOR } else { 0 }
    }

    fn visibility(&self) -> Visibility {
        Visibility::Anchored { width: None }
    }

    fn evidence(&self, _: usize, pass: &Pass) -> Evidence {
        // Without a new anchor nothing has ended.
        if pass.rows.tags.contains(&ANCHOR) { Evidence::Entries } else { Evidence::None }
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let Some(bank) = seen.cache.banks().first() else {
            return Ok(Step::go_on());
        };
        let kept = kept(bank.tags());
        if kept.len() == bank.len() {
            return Ok(Step::go_on());
        }
        Ok(Step::keep(seen.layer, Selection::shared(kept)?))
    }

    fn report(&self) -> Option<Report> {
        self.report.clone()
    }
}

/// What stays of entries with these tags: the tagged ones and the open segment.
fn kept(tags: &[u32]) -> Vec<u32> {
    let open = tags.iter().rposition(|&tag| tag == ANCHOR).map_or(0, |last| last + 1);
    (0..tags.len() as u32).filter(|&i| i as usize >= open || tags[i as usize] != 0).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skimlm_core::{LayerShape, Role, Rows, Stage};

    use super::*;
    use crate::PolicySpec;

    fn shape() -> Shape {
        let layers = vec![LayerShape::default(); 2];
        Shape { hidden: 4, heads: 1, kv_heads: 1, head_dim: 4, vocab: 10, max_positions: 99, scale: 0.5, layers }
    }

    fn built(policy: serde_json::Value, tokens: &[u32]) -> Box<dyn Policy> {
        let shape = shape();
        let context = Context { tokens, ..Context::new(&shape, 0) };
        let spec = PolicySpec::parse(&policy).unwrap();
        spec.check(&context).unwrap();
        spec.build(&context).unwrap()
    }

    fn begun(policy: &mut dyn Policy, tokens: &[u32], roles: &[Role]) -> Rows {
        let mut rows = Rows { roles: roles.to_vec(), ..Rows::consecutive(tokens.to_vec(), 5, Role::Document) };
        rows.tag_with(policy);
        policy.begin(Pass { stage: Stage::Prefill, rows, layers: 0..2 }, &shape()).unwrap().rows
    }

    const ROLES: [Role; 7] =
        [Role::Document, Role::Document, Role::Document, Role::Pinned, Role::Document, Role::Question, Role::Document];

    #[test]
    fn anchors_pins_and_the_open_segment_stay() {
        let mut policy = built(json!({ "kind": "anllm", "anchors": [7], "sinks": 1 }), &[]);
        let rows = begun(&mut *policy, &[1, 2, 7, 3, 7, 7, 4], &ROLES);
        assert_eq!(rows.tags, [2, 0, 1, 2, 1, 2, 0], "what is pinned is no anchor");
        let report = policy.report().unwrap();
        assert_eq!(report.indices, [0, 2, 3, 4, 5, 6]);
        assert!(report.reason.contains("2 anchors") && report.reason.contains("6 of 7"), "{}", report.reason);
    }

    #[test]
    fn the_paper_pins_nothing_and_rules_come_as_ids() {
        let mut policy = built(json!({ "kind": "anllm", "question": false }), &[7, 3]);
        let rows = begun(&mut *policy, &[1, 2, 7, 1, 2, 3, 4], &ROLES);
        assert_eq!(rows.tags, [0, 0, 1, 2, 0, 1, 0]);
        assert_eq!(policy.report().unwrap().indices, [2, 3, 5, 6]);
        assert_eq!(PolicySpec::preset("anllm-paper").unwrap().token_rule().unwrap().unwrap().1, "sentence");
        let ids = PolicySpec::parse(&json!({ "kind": "anllm", "anchors": [7] })).unwrap();
        assert_eq!(ids.token_rule().unwrap(), None);
    }

    #[test]
    fn only_a_pass_with_an_anchor_costs_anything() {
        let mut policy = built(json!({ "kind": "anllm", "anchors": [7] }), &[]);
        for (token, evidence) in [(7, Evidence::Entries), (6, Evidence::None)] {
            let mut rows = Rows::consecutive(vec![token], 9, Role::Document);
            rows.tag_with(&mut *policy);
            assert_eq!(policy.evidence(0, &Pass { stage: Stage::Decode, rows, layers: 0..2 }), evidence);
        }
    }

    #[test]
    fn ids_must_be_there_and_of_the_model() {
        for bad in [json!([]), json!([3, 10])] {
            let spec = PolicySpec::parse(&json!({ "kind": "anllm", "anchors": bad })).unwrap();
            let shape = shape();
            let context = Context::new(&shape, 0);
            assert_eq!(spec.check(&context).unwrap_err().details["option"], "policy.anchors");
        }
        assert!(PolicySpec::parse(&json!({ "kind": "anllm", "anchors": 7 })).is_err());
    }
}
