//! PromptDistill (Jin et al., arXiv 2503.23274): hidden states narrow at one or more layers.
//!
//! One pass. At a stage's layer the query token scores the tokens that are left, the best go on, with
//! everything from the query token on, at their original positions; the layers above see only those.
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
    Among, Error, Evidence, Flow, Keep, Pass, Policy, Queries, Reading, Report, Result, Rows, Seen, Selection, Shape,
    Stage, Step, Warning,
};

use crate::choose::{choose, free_tokens};
use crate::options::{Budget, Pins, QueriesSpec, Score};
use crate::registry::{About, Context, Method};

const DEFAULT_BUDGET: Budget = Budget::Tokens(1024);

/// Options of PromptDistill.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptDistill {
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
}

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Stage")]
pub struct StageSpec {
    /// The layer that chooses, 0-based.
    pub layer: usize,
    /// Tokens it keeps, the tail not counted; a ratio is of the whole prompt.
    pub budget: Budget,
    /// How tokens are scored.
    #[serde(default)]
    pub score: Score,
}

impl Method for PromptDistill {
    const KIND: &'static str = "promptdistill";
    const ABOUT: About = About {
        idea: "One pass that narrows: at each stage's layer the most relevant tokens go on to the layers above, at their original positions.",
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

    fn check(&self, shape: &Shape) -> Result<()> {
        let stages = self.stages.as_deref().unwrap_or_default();
        if self.stages.is_some() && stages.is_empty() {
            return Err(Error::invalid_option("policy.stages", Vec::<u32>::new(), "at least one stage"));
        }
        if self.truncate_stages < -1 {
            return Err(Error::invalid_option(
                "policy.truncateStages",
                self.truncate_stages,
                "-1, 0 or a number of stages",
            ));
        }
        let mut lowest = 0;
        for (i, stage) in stages.iter().enumerate() {
            let option = format!("policy.stages[{i}]");
            let highest = shape.layers.len().saturating_sub(2);
            if stage.layer > highest || stage.layer < lowest {
                let expected = format!("{lowest} to {highest}: stages ascend and the last layer cannot choose");
                return Err(Error::invalid_option(&format!("{option}.layer"), stage.layer, expected));
            }
            lowest = stage.layer + 1;
            stage.score.check(shape.heads, &format!("{option}.score"))?;
            if let Some(listed) = stage.score.listed_layers().find(|&l| l != stage.layer) {
                let expected = format!("heads of layer {}, the stage's own", stage.layer);
                return Err(Error::invalid_option(&format!("{option}.score.heads"), listed, expected));
            }
        }
        Ok(())
    }

    fn build(self, context: &Context<'_>) -> Box<dyn Policy> {
        let default =
            || vec![StageSpec { layer: context.default_layer, budget: DEFAULT_BUDGET, score: Score::default() }];
        Box::new(Distill {
            named: self.stages.is_some(),
            stages: self.stages.clone().unwrap_or_else(default),
            spec: self,
            forced: context.forced.map(<[u32]>::to_vec),
            done: 0,
            prompt: Vec::new(),
            query: 0,
            length: 0,
            report: None,
        })
    }

    fn choosers(&self, context: &Context<'_>) -> Vec<usize> {
        match &self.stages {
            Some(stages) => stages.iter().map(|stage| stage.layer).collect(),
            None => vec![context.default_layer],
        }
    }

    fn reading(&self, context: &Context<'_>, tokens: usize) -> Reading {
        let first = self.stages.as_deref().unwrap_or_default().first();
        let (layer, budget) =
            first.map_or((context.default_layer, DEFAULT_BUDGET), |stage| (stage.layer, stage.budget));
        Reading::Narrow { layer, kept: budget.of(tokens) }
    }
}

/// One prompt's way through PromptDistill.
struct Distill {
    spec: PromptDistill,
    stages: Vec<StageSpec>,
    /// Whether the caller named the stages, and with them the budgets.
    named: bool,
    forced: Option<Vec<u32>>,
    /// Stages that have chosen.
    done: usize,
    /// Prompt index of each row that is left.
    prompt: Vec<u32>,
    /// The query token's row among them.
    query: usize,
    /// Tokens of the prompt.
    length: usize,
    report: Option<Report>,
}

impl Policy for Distill {
    fn begin(&mut self, prompt: Pass, _: &Shape) -> Result<Pass> {
        let n = prompt.rows.len();
        (self.done, self.length, self.report) = (0, n, None);
        self.prompt = (0..n as u32).collect();
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
        Ok(prompt)
    }

    fn evidence(&self, layer: usize, pass: &Pass) -> Evidence {
        let Some(stage) = self.stages.get(self.done).filter(|s| s.layer == layer && pass.stage == Stage::Prefill)
        else {
            return Evidence::None;
        };
        if self.forced.is_some() || self.enough(stage) {
            return Evidence::Entries;
        }
        match (stage.score.evidence(layer, layer, &pass.rows, None), stage.score.queries) {
            // The last query of this method is the query token, wherever it stands.
            (Evidence::Scores { form, scale, heads, .. }, QueriesSpec::Last) => {
                Evidence::Scores { queries: Queries::Rows(self.query..self.query + 1), form, scale, heads }
            }
            (evidence, _) => evidence,
        }
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let Some(stage) = self.stages.get(self.done).cloned() else {
            return Ok(Step::go_on());
        };
        let rows = seen.pass.rows.len();
        self.done += 1;
        if self.forced.is_none() && self.enough(&stage) {
            self.note_everything_kept(&stage);
            return Ok(Step::go_on());
        }
        let (keep, scores) = match &self.forced {
            Some(forced) => {
                let keep = (0..rows as u32)
                    .filter(|&row| {
                        row as usize >= self.query || forced.binary_search(&self.prompt[row as usize]).is_ok()
                    })
                    .collect();
                (keep, vec![0.0; rows])
            }
            None => self.choose(&stage, &seen)?,
        };
        self.prompt = keep.iter().map(|&row| self.prompt[row as usize]).collect();
        self.query = keep.partition_point(|&row| (row as usize) < self.query);
        self.report = Some(self.kept(&stage, keep.iter().map(|&row| scores[row as usize]).collect()));
        let entries = Selection::shared(keep)?;
        let mut step = Step { flow: Flow::Narrow(entries.clone()), keep: Vec::new() };
        if self.spec.truncate_stages == -1 || self.done <= self.spec.truncate_stages as usize {
            step.keep.push(Keep { layers: 0..seen.layer + 1, entries, among: Among::Rows, renumber: false });
        }
        Ok(step)
    }

    fn report(&self) -> Option<Report> {
        // Until the last stage has chosen there is nothing final to report.
        self.report.clone().filter(|_| self.done == self.stages.len())
    }
}

impl Distill {
    /// Whether the stage would keep everything.
    fn enough(&self, stage: &StageSpec) -> bool {
        stage.budget.of(self.length) >= self.query
    }

    fn choose(&self, stage: &StageSpec, seen: &Seen<'_>) -> Result<(Vec<u32>, Vec<f32>)> {
        let rows = &seen.pass.rows;
        let all = seen.scores.first().ok_or_else(no_scores)?.flatten_all()?.to_vec1::<f32>()?;
        // Entries of earlier turns are not scored: this method chooses among the tokens of one prompt.
        let mut scores = all[all.len() - rows.len()..].to_vec();
        if self.spec.zero_tail {
            scores[self.query..].fill(0.0);
        }
        let pinned = self.pinned(rows);
        let pins = pinned[..self.query].iter().filter(|p| **p).count();
        let charged = self.spec.pins.charge_budget;
        let free = free_tokens(stage.budget.of(self.length), pins, charged, self.named)?;
        let scores = candle_core::Tensor::from_vec(scores, (1, rows.len()), &candle_core::Device::Cpu)?;
        let kept = choose(&scores, &stage.score, &pinned, free)?;
        Ok((kept.indices, kept.scores))
    }

    /// The pins and the tail from the query token on.
    fn pinned(&self, rows: &Rows) -> Vec<bool> {
        let mut pinned = self.spec.pins.flags(rows);
        pinned[self.query..].fill(true);
        pinned
    }

    fn kept(&self, stage: &StageSpec, scores: Vec<f32>) -> Report {
        let reason = format!("{} of {} tokens go on above layer {}", self.prompt.len(), self.length, stage.layer);
        Report {
            layer: stage.layer,
            budget: stage.budget.of(self.length),
            indices: self.prompt.clone(),
            scores,
            all_scores: None,
            reason,
            heads: None,
            warnings: Vec::new(),
        }
    }

    fn note_everything_kept(&mut self, stage: &StageSpec) {
        if self.report.is_none() {
            let mut report = self.kept(stage, vec![0.0; self.prompt.len()]);
            let message = format!("Nothing was left out at layer {}: the budget holds the whole prompt.", stage.layer);
            report.warnings.push(Warning { code: "W_POLICY_NOOP", message });
            self.report = Some(report);
        }
    }
}

fn no_scores() -> Error {
    Error::new(skimlm_core::Code::Internal, "the stage's layer left no scores.")
}
