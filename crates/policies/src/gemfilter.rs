//! GemFilter (Shi et al., arXiv 2409.17422): the early layers choose, the whole model reads the choice.
//!
//! A scratch pass runs the layers below the filter layer on the whole prompt and, at the filter
//! layer, computes no more than the keys of all rows and the queries that ask (lossless; the
//! published code also attends, runs the MLP and the head there). The best tokens, in prompt order,
//! are then an ordinary short prompt for the whole model.
//!
//! Deviations outside the preset `gemfilter-paper`: sinks, template, system message, question and
//! last token are pinned (published: nothing is, not even the last token); the score is a softmax
//! over the last 16 queries, averaged over heads and 13 tokens (published: raw dot products of the
//! last query summed over heads, averaged over 5 tokens with zero padding). Scores are f32 always.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{
    Error, Evidence, KvCache, Pass, Policy, Reading, Report, Result, Seen, Selection, Shape, Stage, Step, Warning,
};

use crate::choose::{Ends, choose, free_tokens};
use crate::narrowing::Narrowing;
use crate::options::{Budget, DEFAULT_BUDGET, Pins, Positions, Score, StageSpec};
use crate::registry::{About, Context, Method};
use crate::windows::check_layer;

/// Options of GemFilter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct GemFilter {
    /// Tokens to keep; none: 1024, or more if the pins need it.
    pub budget: Option<Budget>,
    /// Filter layer, 0-based; none: the model's own. With a list of heads the last layer of the list decides in any
    /// case, and may not be above this one.
    pub layer: Option<usize>,
    /// Layers below it at which the filter pass narrows already, so that the layers between read less. Where positions
    /// are fresh, they are so between stages, too: heads see badly over distances that are rare in training.
    pub stages: Vec<StageSpec>,
    /// How tokens are scored.
    pub score: Score,
    /// Tokens that are always kept.
    pub pins: Pins,
    /// Positions in the second pass.
    pub positions: Positions,
    /// Share of the scores that must fall on tokens that are not pinned. Below it the question finds nothing in
    /// particular and the whole prompt is read; none: the choice stands in any case.
    #[schemars(range(min = 0, max = 1))]
    pub fallback_below: Option<f32>,
}

impl Method for GemFilter {
    const KIND: &'static str = "gemfilter";
    const ABOUT: About = About {
        idea: "The layers up to a filter layer read everything and choose; the whole model then reads the chosen tokens as a short prompt.",
        paper: "Shi et al., Discovering the Gems in Early Layers (arXiv 2409.17422)",
        good: "Questions about facts in long text, above about 3000 tokens; the kept text is readable and can be sent elsewhere.",
        bad: "Short prompts, summaries of everything, counting; evidence the filter layer does not see is lost.",
        cost: "Layers 0 to r on n tokens, then all layers on k; k cache entries a layer.",
    };
    const REPLAYS: bool = true;
    const PRESETS: &'static [(&'static str, &'static str)] = &[(
        "gemfilter-paper",
        r#"{"budget":1024,
            "score":{"queries":"last","softmax":false,"heads":"sum","pool":{"kind":"avg","width":5,"edge":"zero"},"round":"token"},
            "pins":{"sinks":0,"template":false,"system":false,"question":false,"last":0}}"#,
    )];

    fn check(&self, context: &Context<'_>) -> Result<()> {
        let shape = context.shape;
        self.score.check(shape.heads, "policy.score")?;
        let layers = shape.layers.len();
        let listed = self.score.listed_layers().max();
        for (option, layer) in [("policy.layer", self.layer), ("policy.score.heads", listed)] {
            if let Some(layer) = layer
                && layer + 1 >= layers
            {
                return Err(Error::invalid_option(option, layer, format!("0 to {}", layers.saturating_sub(2))));
            }
        }
        if let (Some(layer), Some(listed)) = (self.layer, listed)
            && listed > layer
        {
            let expected = format!("heads of layers up to `layer`, which is {layer}");
            return Err(Error::invalid_option("policy.score.heads", listed, expected));
        }
        let (layer, _) = self.filter_layer(context);
        let lowest = self.stages.last().map_or(0, |stage| stage.layer + 1);
        let asked = self.score.layers(layer);
        if lowest > layer || asked.iter().any(|&l| l < lowest) {
            let expected = format!("below every layer that the last choice listens to, which are {asked:?}");
            return Err(Error::invalid_option("policy.stages", lowest.saturating_sub(1), expected));
        }
        if let Some(share) = self.fallback_below
            && (!(0.0..=1.0).contains(&share) || !self.score.softmax)
        {
            let expected = "a share from 0 to 1 of softmax scores";
            return Err(Error::invalid_option("policy.fallbackBelow", share, expected));
        }
        self.budget.map_or(Ok(()), |budget| budget.check_scored(&self.score, "policy.budget"))?;
        StageSpec::check(&self.stages, Self::KIND, layers.saturating_sub(2), context)?;
        if context.forced.is_some() {
            return Ok(());
        }
        asked.into_iter().try_for_each(|layer| check_layer(Self::KIND, layer, shape))
    }

    fn build(self, context: &Context<'_>) -> Box<dyn Policy> {
        let (layer, reason) = self.filter_layer(context);
        let ends = Ends::of(self.stages.iter().map(|s| &s.score).chain([&self.score]), context);
        Box::new(Filter {
            spec: self,
            layer,
            layer_reason: reason,
            forced: context.forced.map(<[u32]>::to_vec),
            layers: context.shape.layers.len(),
            ends,
            prompt: None,
            narrowing: Narrowing::new(Vec::new()),
            report: None,
        })
    }

    fn reading(&self, _: &Context<'_>, tokens: usize) -> Reading {
        if self.fallback_below.is_some() {
            return Reading::Whole;
        }
        Reading::Restart { kept: self.budget.unwrap_or(DEFAULT_BUDGET).of(tokens) }
    }
}

impl GemFilter {
    /// The layer that chooses, and where it comes from.
    fn filter_layer(&self, context: &Context<'_>) -> (usize, &'static str) {
        match (self.layer, self.score.listed_layers().max()) {
            (_, Some(listed)) => (listed, "the last layer of the head list"),
            (Some(layer), None) => (layer, "the layer that was asked for"),
            (None, None) => (context.default_layer, "the model's default filter layer"),
        }
    }
}

/// One prompt's way through GemFilter.
struct Filter {
    spec: GemFilter,
    layer: usize,
    layer_reason: &'static str,
    forced: Option<Vec<u32>>,
    layers: usize,
    ends: Ends,
    /// The whole prompt, until the second pass is made of it.
    prompt: Option<Pass>,
    /// The filter pass; its last stage is the choice itself.
    narrowing: Narrowing,
    report: Option<Report>,
}

impl Policy for Filter {
    fn begin(&mut self, prompt: Pass, _: &Shape) -> Result<Pass> {
        let n = prompt.rows.len();
        // What an earlier prompt kept says nothing of this one.
        self.report = None;
        if let Some(forced) = &self.forced {
            let selection = Selection::shared(forced.clone())?;
            let kept = selection.as_shared().unwrap_or_default();
            if kept.is_empty() || kept.last().is_some_and(|&last| last as usize >= n) {
                let expected = format!("at least one index, all below the prompt's {n} tokens");
                return Err(Error::invalid_option("forceIndices", kept.last().copied().unwrap_or(0), expected));
            }
            self.report = Some(self.kept(
                kept.len(),
                kept.to_vec(),
                vec![0.0; kept.len()],
                None,
                "the indices were given".into(),
            ));
            let mut pass = prompt;
            self.shorten(&mut pass, kept);
            return Ok(pass);
        }
        let budget = self.budget().of(n);
        if self.budget().holds(n, n) {
            let reason = format!("the prompt has {n} tokens, no more than the budget of {budget}");
            let mut report = self.kept(budget, (0..n as u32).collect(), vec![0.0; n], None, reason.clone());
            report
                .warnings
                .push(Warning { code: "W_POLICY_NOOP", message: format!("Nothing was left out: {reason}.") });
            self.report = Some(report);
            return Ok(prompt);
        }
        // Refuse a budget below the pins before the work, not after it.
        let stages = self.stages(n);
        let pinned = self.spec.pins.flags(&prompt.rows);
        stages.iter().try_for_each(|stage| self.free(stage, &pinned, n).map(|_| ()))?;
        self.narrowing = Narrowing::new(stages);
        self.narrowing.begin(n);
        let filter = Pass { stage: Stage::Filter, rows: prompt.rows.clone(), layers: 0..self.layer + 1 };
        self.prompt = Some(prompt);
        Ok(filter)
    }

    fn evidence(&self, layer: usize, pass: &Pass) -> Evidence {
        match pass.stage {
            Stage::Filter => self.narrowing.evidence(layer, &pass.rows, Some(1.0)),
            Stage::Prefill | Stage::Decode => Evidence::None,
        }
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let Some(scores) = self.narrowing.hear(&seen)? else {
            return Ok(Step::go_on());
        };
        let Some(stage) = self.narrowing.stage().cloned() else {
            return Ok(Step::go_on());
        };
        let n = self.narrowing.length();
        let rows = &seen.pass.rows;
        let pinned = self.spec.pins.flags(rows);
        if stage.layer == self.layer && self.falls_back(&scores, &pinned) {
            return Ok(Step::stop());
        }
        let runs = self.ends.runs(stage.score.round, &rows.tokens);
        let free = self.free(&stage, &pinned, n)?;
        let kept = choose(&scores, &stage, &pinned, free, runs.as_deref())?;
        self.narrowing.narrow(&kept.indices);
        if self.narrowing.stage().is_some() {
            let close_up = self.spec.positions == Positions::Fresh;
            return Ok(Step::narrow(Selection::shared(kept.indices)?, close_up));
        }
        let indices = self.narrowing.rows().to_vec();
        let chosen = kept.indices.iter().map(|&i| kept.scores[i as usize]).collect();
        let pins = pinned.iter().filter(|p| **p).count();
        let reason = format!(
            "{} of {n} tokens ({pins} pinned) by the scores at layer {}, {}",
            indices.len(),
            self.layer,
            self.layer_reason
        );
        let all_scores = (rows.len() == n).then_some(kept.scores);
        self.report = Some(self.kept(self.budget().of(n), indices, chosen, all_scores, reason));
        Ok(Step::stop())
    }

    fn after_pass(&mut self, pass: &Pass, _: &mut KvCache) -> Result<Option<Pass>> {
        if pass.stage != Stage::Filter {
            return Ok(None);
        }
        let (Some(mut prompt), Some(report)) = (self.prompt.take(), &self.report) else {
            return Ok(None);
        };
        let indices = report.indices.clone();
        self.shorten(&mut prompt, &indices);
        Ok(Some(prompt))
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn report(&self) -> Option<Report> {
        self.report.clone()
    }
}

impl Filter {
    fn budget(&self) -> Budget {
        self.spec.budget.unwrap_or(DEFAULT_BUDGET)
    }

    /// The stages of a prompt of `n` tokens, the choice itself last. Those that would leave out nothing are none.
    fn stages(&self, n: usize) -> Vec<StageSpec> {
        let mut left = n;
        let narrows = |stage: &&StageSpec| {
            let narrows = !stage.budget.holds(n, left);
            left = left.min(stage.budget.of(n));
            narrows
        };
        let choice = StageSpec { layer: self.layer, budget: self.budget(), score: self.spec.score.clone() };
        self.spec.stages.iter().filter(narrows).cloned().chain([choice]).collect()
    }

    /// Whether the question finds nothing in particular; then the report says that everything is read.
    fn falls_back(&mut self, scores: &[f32], pinned: &[bool]) -> bool {
        let Some(least) = self.spec.fallback_below else {
            return false;
        };
        let open: f32 = scores.iter().zip(pinned).filter(|(_, pinned)| !**pinned).map(|(score, _)| score).sum();
        let share = open / scores.iter().sum::<f32>().max(f32::MIN_POSITIVE);
        // A NaN share is an error further on, not a reason.
        if share.is_nan() || share >= least {
            return false;
        }
        let n = self.narrowing.length();
        let reason = format!(
            "the scores at layer {} fall on the text by {share:.2}, less than {least:.2}: all {n} tokens are read",
            self.layer
        );
        let mut report = self.kept(self.budget().of(n), (0..n as u32).collect(), vec![0.0; n], None, reason.clone());
        report.warnings.push(Warning { code: "W_FALLBACK", message: format!("The whole prompt was read: {reason}.") });
        self.report = Some(report);
        true
    }

    fn free(&self, stage: &StageSpec, pinned: &[bool], n: usize) -> Result<usize> {
        let pins = pinned.iter().filter(|p| **p).count();
        let at = self.spec.stages.iter().position(|own| own.layer == stage.layer);
        let option = match at {
            Some(at) => Some(StageSpec::option(at, "budget")),
            None => self.spec.budget.map(|_| "policy.budget".into()),
        };
        free_tokens(stage.budget.of(n), pins, self.spec.pins.charge_budget, option.as_deref())
    }

    /// Leaves the kept rows of a prompt, at the positions the options ask for.
    fn shorten(&self, prompt: &mut Pass, kept: &[u32]) {
        prompt.rows = match self.spec.positions {
            Positions::Fresh => prompt.rows.gather_fresh(kept),
            Positions::Original => prompt.rows.gather(kept),
        };
        prompt.layers = 0..self.layers;
    }

    fn kept(
        &self,
        budget: usize,
        indices: Vec<u32>,
        scores: Vec<f32>,
        all_scores: Option<Vec<f32>>,
        reason: String,
    ) -> Report {
        Report { layer: self.layer, budget, indices, scores, all_scores, reason, ..Report::default() }
    }
}
