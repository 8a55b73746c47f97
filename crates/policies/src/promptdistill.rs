//! PromptDistill (Jin et al., arXiv 2503.23274): hidden states narrow at one or more layers.
//!
//! One pass. At a stage's layer the query token scores the tokens that are left, the best go on, with
//! everything from the query token on, at their original positions; the layers above see only those.
//! With `positions: 'fresh'` they close up above each stage, as GemFilter's do, so that distances between
//! kept tokens are small; they end where the prompt ends, and decoding goes on there in every layer.
//! Lean at every stage: keys and values of all rows, queries, attention and MLP of the kept rows
//! only (lossless; the published code runs the whole layer and drops rows afterwards).
//!
//! `truncateStages` shrinks the caches of layers already walked to the tokens a stage kept, as soon
//! as it has chosen (the published code does it after the last layer, and again in every decoding
//! step if nobody switches it off). It changes decoding only.
//!
//! Deviations outside the preset `promptdistill-paper`: pins; the score of `Score::default`; pooling
//! with the true scores of the tail instead of zeros. Attention is always causal. The tail from the
//! query token on is never charged to a stage's budget (as published).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{
    Among, Error, Evidence, Keep, LayerHeads, Pass, Policy, Queries, Reading, Report, Result, Rows, Seen, Selection,
    Shape, Stage, Step, Warning,
};

use crate::choose::{Ends, choose, free_tokens};
use crate::narrowing::Narrowing;
use crate::options::{DEFAULT_BUDGET, Pins, Positions, QueriesSpec, Score, StageSpec};
use crate::registry::{About, Context, Method};

/// Options of PromptDistill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PromptDistill {
    /// Where and to how many tokens the prompt narrows, layers ascending; none: to 1024 at the model's
    /// default filter layer.
    #[schemars(length(min = 1))]
    pub stages: Option<Vec<StageSpec>>,
    /// After how many stages the caches below shrink too: 0 never, -1 after all.
    #[schemars(range(min = -1))]
    pub truncate_stages: i32,
    /// Index of the query token in the prompt; none: the last token.
    pub query_token: Option<usize>,
    /// Tokens that are always kept.
    pub pins: Pins,
    /// Published pooling: the scores from the query token on count as 0.
    pub zero_tail: bool,
    /// Where the tokens that go on stand above a stage: `original` with gaps, `fresh` without.
    pub positions: Positions,
}

impl Default for PromptDistill {
    fn default() -> Self {
        Self {
            stages: None,
            truncate_stages: 0,
            query_token: None,
            pins: Pins::default(),
            zero_tail: false,
            positions: Positions::Original,
        }
    }
}

impl Method for PromptDistill {
    const KIND: &'static str = "promptdistill";
    const ABOUT: About = About {
        idea: "One pass that narrows: at each stage's layer the most relevant tokens go on to the layers above.",
        paper: "Jin et al., PromptDistill (arXiv 2503.23274)",
        good: "Long prompts from about 1500 tokens on; early layers have read everything, nothing is read twice.",
        bad: "With `truncateStages` 0 the early layers keep long caches; a stage that misses the evidence cannot be repaired above.",
        cost: "Each layer on the tokens its stage left; cache entries likewise.",
    };
    const REPLAYS: bool = true;
    const PRESETS: &'static [(&'static str, &'static str)] = &[(
        "promptdistill-paper",
        r#"{"stages":[{"layer":13,"budget":1024,
             "score":{"queries":"last","softmax":false,"heads":"mean","pool":{"kind":"avg","width":5,"edge":"zero"},"round":"token"}}],
            "truncateStages":0,"zeroTail":true,
            "pins":{"sinks":0,"template":false,"system":false,"question":false,"last":0,"chargeBudget":true}}"#,
    )];

    fn check(&self, context: &Context<'_>) -> Result<()> {
        if self.stages.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid_option("policy.stages", Vec::<u32>::new(), "at least one stage"));
        }
        if self.truncate_stages < -1 {
            return Err(Error::invalid_option(
                "policy.truncateStages",
                self.truncate_stages,
                "-1, 0 or a number of stages",
            ));
        }
        let default = self.default_stages(context);
        let stages = self.stages.as_deref().unwrap_or(&default);
        StageSpec::check(stages, Self::KIND, context.shape.layers.len().saturating_sub(2), context)
    }

    fn build(self, context: &Context<'_>) -> Box<dyn Policy> {
        let ends = Ends::of(self.stages.iter().flatten().map(|s| &s.score), context);
        let default = self.default_stages(context);
        Box::new(Distill {
            named: self.stages.is_some(),
            narrowing: Narrowing::new(self.stages.clone().unwrap_or(default)),
            spec: self,
            forced: context.forced.map(<[u32]>::to_vec),
            layers: context.shape.layers.len(),
            ends,
            held: Vec::new(),
            all_scores: None,
            query: 0,
            report: None,
        })
    }

    fn reading(&self, context: &Context<'_>, tokens: usize) -> Reading {
        let first = self.stages.as_deref().unwrap_or_default().first();
        let (layer, budget) =
            first.map_or((context.default_layer, DEFAULT_BUDGET), |stage| (stage.layer, stage.budget));
        Reading::Narrow { layer, kept: budget.of(tokens) }
    }
}

impl PromptDistill {
    /// The stages where the options name none.
    fn default_stages(&self, context: &Context<'_>) -> Vec<StageSpec> {
        vec![StageSpec { layer: context.default_layer, budget: DEFAULT_BUDGET, score: Score::default() }]
    }
}

/// One prompt's way through PromptDistill.
struct Distill {
    spec: PromptDistill,
    narrowing: Narrowing,
    /// Whether the caller named the stages, and with them the budgets.
    named: bool,
    forced: Option<Vec<u32>>,
    /// Layers of the model.
    layers: usize,
    ends: Ends,
    /// Prompt indices in the cache of each layer up to the last stage's.
    held: Vec<Vec<u32>>,
    /// The scores of the only stage, which cover the prompt.
    all_scores: Option<Vec<f32>>,
    /// The query token's row among those that are left.
    query: usize,
    report: Option<Report>,
}

impl Policy for Distill {
    fn begin(&mut self, prompt: Pass, _: &Shape) -> Result<Pass> {
        let n = prompt.rows.len();
        self.narrowing.begin(n);
        (self.report, self.all_scores) = (None, None);
        self.held.clear();
        self.query = match self.spec.query_token {
            Some(token) if token >= n => {
                return Err(Error::invalid_option(
                    "policy.queryToken",
                    token,
                    format!("below the prompt's {n} tokens"),
                ));
            }
            token => token.unwrap_or(n.saturating_sub(1)),
        };
        if let Some(bad) = self.forced.iter().flatten().find(|&&i| i as usize >= n) {
            return Err(Error::invalid_option("forceIndices", *bad, format!("below the prompt's {n} tokens")));
        }
        if self.forced.is_none() {
            // Refuse a budget below the pins before the work, not after it. Pins survive, so every stage has as many.
            let pinned = self.pinned(&prompt.rows);
            let mut stages = self.narrowing.stages().iter().enumerate();
            stages.try_for_each(|(at, stage)| self.free(at, stage, &pinned).map(|_| ()))?;
        }
        Ok(prompt)
    }

    fn evidence(&self, layer: usize, pass: &Pass) -> Evidence {
        let Some(stage) = self.narrowing.stage().filter(|_| pass.stage == Stage::Prefill) else {
            return Evidence::None;
        };
        if self.forced.is_some() || self.enough(stage) {
            return if layer == stage.layer { Evidence::Entries } else { Evidence::None };
        }
        match (self.narrowing.evidence(layer, &pass.rows, None), stage.score.queries) {
            // The last query of this method is the query token, wherever it stands.
            (Evidence::Scores { form, scale, heads, .. }, QueriesSpec::Last) => {
                Evidence::Scores { queries: Queries::Rows(self.query..self.query + 1), form, scale, heads }
            }
            (evidence, _) => evidence,
        }
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let Some(stage) = self.narrowing.stage().cloned() else {
            return Ok(Step::go_on());
        };
        if self.forced.is_none() && self.enough(&stage) {
            self.narrowing.skip();
            self.note_everything_kept(&stage);
            return Ok(Step::go_on());
        }
        let (keep, scores) = match &self.forced {
            Some(forced) => {
                let given = |&row: &u32| forced.binary_search(&self.narrowing.rows()[row as usize]).is_ok();
                let rows = seen.pass.rows.len() as u32;
                let keep = (0..rows).filter(|row| *row as usize >= self.query || given(row)).collect();
                (keep, vec![0.0; rows as usize])
            }
            None => match self.narrowing.hear(&seen)? {
                Some(scores) => self.choose(&stage, scores, &seen.pass.rows)?,
                None => return Ok(Step::go_on()),
            },
        };
        self.held.resize(seen.layer + 1, self.narrowing.rows().to_vec());
        self.narrowing.narrow(&keep);
        self.query = keep.partition_point(|&row| (row as usize) < self.query);
        let chosen = keep.iter().map(|&row| scores[row as usize]).collect();
        if self.narrowing.stages().len() == 1 && self.forced.is_none() {
            self.all_scores = Some(scores);
        }
        let entries = Selection::shared(keep)?;
        let close_up = self.spec.positions == Positions::Fresh;
        let mut step = Step::narrow(entries.clone(), close_up);
        if self.spec.truncate_stages == -1 || self.narrowing.done() <= self.spec.truncate_stages as usize {
            step.keep.push(Keep { layers: 0..seen.layer + 1, entries, among: Among::Rows, renumber: false });
            self.held.fill(self.narrowing.rows().to_vec());
        }
        self.report = Some(self.kept(&stage, chosen));
        Ok(step)
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn report(&self) -> Option<Report> {
        // Until the last stage has chosen there is nothing final to report.
        let mut report = self.report.clone().filter(|_| self.narrowing.stage().is_none())?;
        if self.held.is_empty() {
            return Some(report);
        }
        let last = self.narrowing.rows().to_vec();
        let above = std::iter::repeat_n(&last, self.layers - self.held.len());
        let held = self.held.iter().chain(above).enumerate();
        report.heads = Some(held.map(|(layer, list)| LayerHeads { layer, heads: vec![list.clone()] }).collect());
        Some(report)
    }
}

impl Distill {
    /// Whether the stage would keep everything.
    fn enough(&self, stage: &StageSpec) -> bool {
        stage.budget.holds(self.narrowing.length(), self.query)
    }

    fn choose(&self, stage: &StageSpec, mut scores: Vec<f32>, rows: &Rows) -> Result<(Vec<u32>, Vec<f32>)> {
        if self.spec.zero_tail {
            scores[self.query..].fill(0.0);
        }
        let pinned = self.pinned(rows);
        let free = self.free(self.narrowing.done(), stage, &pinned)?;
        let runs = self.ends.runs(stage.score.round, &rows.tokens);
        let kept = choose(&scores, stage, &pinned, free, runs.as_deref())?;
        Ok((kept.indices, kept.scores))
    }

    /// The tokens that the `at`-th stage leaves to its scores. The tail from the query token on is never charged.
    fn free(&self, at: usize, stage: &StageSpec, pinned: &[bool]) -> Result<usize> {
        let pins = pinned[..self.query].iter().filter(|p| **p).count();
        let option = self.named.then(|| StageSpec::option(at, "budget"));
        let budget = stage.budget.of(self.narrowing.length());
        free_tokens(budget, pins, self.spec.pins.charge_budget, option.as_deref())
    }

    /// The pins and the tail from the query token on.
    fn pinned(&self, rows: &Rows) -> Vec<bool> {
        let mut pinned = self.spec.pins.flags(rows);
        pinned[self.query..].fill(true);
        pinned
    }

    fn kept(&self, stage: &StageSpec, scores: Vec<f32>) -> Report {
        let (rows, length) = (self.narrowing.rows(), self.narrowing.length());
        Report {
            layer: stage.layer,
            budget: stage.budget.of(length),
            indices: rows.to_vec(),
            scores,
            all_scores: self.all_scores.clone(),
            reason: format!("{} of {length} tokens go on above layer {}", rows.len(), stage.layer),
            ..Report::default()
        }
    }

    fn note_everything_kept(&mut self, stage: &StageSpec) {
        if self.report.is_none() {
            let mut report = self.kept(stage, vec![0.0; self.narrowing.rows().len()]);
            let message = format!("Nothing was left out at layer {}: the budget holds the whole prompt.", stage.layer);
            report.warnings.push(Warning { code: "W_POLICY_NOOP", message });
            self.report = Some(report);
        }
    }
}
