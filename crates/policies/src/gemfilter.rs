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

use crate::choose::{choose, free_tokens};
use crate::options::{Budget, Pins, Positions, Score};
use crate::registry::{About, Context, Method};

const DEFAULT_BUDGET: usize = 1024;

/// Options of GemFilter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct GemFilter {
    /// Tokens to keep; none: 1024, or more if the pins need it.
    pub budget: Option<Budget>,
    /// Filter layer, 0-based; none: the model's own.
    pub layer: Option<usize>,
    /// How tokens are scored.
    pub score: Score,
    /// Tokens that are always kept.
    pub pins: Pins,
    /// Positions in the second pass.
    pub positions: Positions,
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

    fn check(&self, shape: &Shape) -> Result<()> {
        self.score.check(shape.heads, "policy.score")?;
        let layers = shape.layers.len();
        let named = [("policy.layer", self.layer), ("policy.score.heads", self.score.listed_layers().max())];
        for (option, layer) in named {
            if let Some(layer) = layer
                && layer + 1 >= layers
            {
                return Err(Error::invalid_option(option, layer, format!("0 to {}", layers.saturating_sub(2))));
            }
        }
        match (self.layer, self.score.listed_layers().max()) {
            (Some(layer), Some(listed)) if listed > layer => {
                let expected = format!("heads of layers up to `layer`, which is {layer}");
                Err(Error::invalid_option("policy.score.heads", listed, expected))
            }
            _ => Ok(()),
        }
    }

    fn build(self, context: &Context<'_>) -> Box<dyn Policy> {
        let (layer, reason) = match (self.layer, self.score.listed_layers().max()) {
            (_, Some(listed)) => (listed, "the last layer of the head list"),
            (Some(layer), None) => (layer, "the layer that was asked for"),
            (None, None) => (context.default_layer, "the model's default filter layer"),
        };
        Box::new(Filter {
            spec: self,
            layer,
            layer_reason: reason,
            forced: context.forced.map(<[u32]>::to_vec),
            layers: context.shape.layers.len(),
            prompt: None,
            added: Vec::new(),
            report: None,
        })
    }

    fn choosers(&self, context: &Context<'_>) -> Vec<usize> {
        let mut layers: Vec<usize> = self.score.listed_layers().collect();
        if layers.is_empty() {
            layers.push(self.layer.unwrap_or(context.default_layer));
        }
        layers
    }

    fn reading(&self, _: &Context<'_>, tokens: usize) -> Reading {
        Reading::Restart { kept: self.budget.map_or(DEFAULT_BUDGET, |budget| budget.of(tokens)) }
    }
}

/// One prompt's way through GemFilter.
struct Filter {
    spec: GemFilter,
    layer: usize,
    layer_reason: &'static str,
    forced: Option<Vec<u32>>,
    layers: usize,
    /// The whole prompt, until the second pass is made of it.
    prompt: Option<Pass>,
    /// Scores of the listed heads of earlier layers.
    added: Vec<f32>,
    report: Option<Report>,
}

impl Policy for Filter {
    fn begin(&mut self, prompt: Pass, _: &Shape) -> Result<Pass> {
        let n = prompt.rows.len();
        self.added.clear();
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
        let budget = self.budget(n);
        if budget >= n {
            let reason = format!("the prompt has {n} tokens, no more than the budget of {budget}");
            let mut report = self.kept(budget, (0..n as u32).collect(), vec![0.0; n], None, reason.clone());
            report
                .warnings
                .push(Warning { code: "W_POLICY_NOOP", message: format!("Nothing was left out: {reason}.") });
            self.report = Some(report);
            return Ok(prompt);
        }
        // Refuse a budget below the pins before the work, not after it.
        self.free(&self.spec.pins.flags(&prompt.rows), n)?;
        let filter = Pass { stage: Stage::Filter, rows: prompt.rows.clone(), layers: 0..self.layer + 1 };
        self.prompt = Some(prompt);
        Ok(filter)
    }

    fn evidence(&self, layer: usize, pass: &Pass) -> Evidence {
        match pass.stage {
            Stage::Filter => self.spec.score.evidence(layer, self.layer, &pass.rows, Some(1.0)),
            Stage::Prefill | Stage::Decode => Evidence::None,
        }
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let Some(scores) = seen.scores.first() else {
            return Ok(Step::go_on());
        };
        let n = seen.pass.rows.len();
        let scores = if seen.layer < self.layer || !self.added.is_empty() {
            let here = scores.flatten_all()?.to_vec1::<f32>()?;
            self.added.resize(here.len(), 0.0);
            self.added.iter_mut().zip(&here).for_each(|(sum, s)| *sum += s);
            if seen.layer < self.layer {
                return Ok(Step::go_on());
            }
            candle_core::Tensor::new(self.added.as_slice(), scores.device())?.unsqueeze(0)?
        } else {
            scores.clone()
        };
        let pinned = self.spec.pins.flags(&seen.pass.rows);
        let kept = choose(&scores, &self.spec.score, &pinned, self.free(&pinned, n)?)?;
        let chosen = kept.indices.iter().map(|&i| kept.scores[i as usize]).collect();
        let pins = pinned.iter().filter(|p| **p).count();
        let reason = format!(
            "{} of {n} tokens ({pins} pinned) by the scores at layer {}, {}",
            kept.indices.len(),
            self.layer,
            self.layer_reason
        );
        self.report = Some(self.kept(self.budget(n), kept.indices, chosen, Some(kept.scores), reason));
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

    fn report(&self) -> Option<Report> {
        self.report.clone()
    }
}

impl Filter {
    fn budget(&self, n: usize) -> usize {
        self.spec.budget.map_or(DEFAULT_BUDGET, |b| b.of(n))
    }

    fn free(&self, pinned: &[bool], n: usize) -> Result<usize> {
        let pins = pinned.iter().filter(|p| **p).count();
        free_tokens(self.budget(n), pins, self.spec.pins.charge_budget, self.spec.budget.is_some())
    }

    /// Leaves the kept rows of a prompt, at the positions the options ask for.
    fn shorten(&self, prompt: &mut Pass, kept: &[u32]) {
        let first = prompt.rows.positions.first().copied().unwrap_or(0);
        prompt.rows = prompt.rows.gather(kept);
        if self.spec.positions == Positions::Fresh {
            prompt.rows.positions = (first..).take(kept.len()).collect();
        }
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
        Report { layer: self.layer, budget, indices, scores, all_scores, reason, heads: None, warnings: Vec::new() }
    }
}
