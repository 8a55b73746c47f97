use std::ops::Range;

use candle_core::Tensor;
use serde::Serialize;
use skimlm_kernels::attention::Visibility;
use skimlm_kernels::keys::Measure;
use skimlm_kernels::scores::{Form, Heads};

use crate::cache::{KvCache, LayerCache};
use crate::error::Result;
use crate::model::Shape;
use crate::pass::{Pass, Rows};
use crate::selection::Selection;

/// Which rows of a pass ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queries {
    /// The last row.
    Last,
    /// The last rows, as many as there are up to this number.
    Window(usize),
    /// These rows.
    Rows(Range<usize>),
}

impl Queries {
    /// The rows of a pass of `rows` rows that ask.
    pub fn range(&self, rows: usize) -> Range<usize> {
        match self {
            Self::Last => rows.saturating_sub(1)..rows,
            Self::Window(w) => rows.saturating_sub(*w)..rows,
            Self::Rows(range) => range.start.min(rows)..range.end.min(rows),
        }
    }
}

/// What a layer of a pass must leave behind. Data, so that every device reads the same contract.
#[derive(Debug, Clone, PartialEq)]
pub enum Evidence {
    /// Nothing, at no cost.
    None,
    /// Ask the policy at this layer, with no scores (it looks at the entries themselves).
    Entries,
    /// Scores of all entries of the layer, this pass's own included.
    Scores {
        /// Who asks. All rows of a pass: `Queries::Rows(0..usize::MAX)`.
        queries: Queries,
        /// Raw or softmax.
        form: Form,
        /// Factor on `q.k`; none: the model's own.
        scale: Option<f32>,
        /// How heads combine.
        heads: Heads,
    },
    /// What is measured of the keys of all entries of the layer, this pass's own included. Nobody asks.
    Keys(Measure),
}

/// What a policy is shown at a layer, once the layer's keys are known and before it attends.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The layer.
    pub layer: usize,
    /// The rows of the pass as they are at this layer.
    pub pass: &'a Pass,
    /// The layer's entries; the last `pass.rows.len()` of every bank are the rows of this pass.
    pub cache: &'a LayerCache,
    /// The scores asked for, `[rows, entries]` f32, or what was measured of the keys, `[kv_heads, entries]` f32 (one
    /// head in a bank of its own); one tensor a bank of the cache.
    pub scores: &'a [Tensor],
}

/// How the pass goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// As it is.
    Continue,
    /// With the selected rows only, from the attention of this layer on.
    Narrow {
        /// Which rows go on.
        rows: Selection,
        /// Whether they close up above this layer: positions without gaps that end with the last row's. What
        /// rotation and causality see are distances, which are then those of a prompt of these rows alone, and the
        /// next token takes one position in all layers.
        close_up: bool,
    },
    /// Not at all: the policy has what it wanted.
    Stop,
}

/// Cache entries to keep in some layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// In which layers.
    pub layers: Range<usize>,
    /// Which entries.
    pub entries: Selection,
    /// What the indices count.
    pub among: Among,
    /// Whether the kept entries move to the positions 0, 1, 2, ... and their keys turn with them.
    pub renumber: bool,
}

/// What the indices of a [`Keep`] count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// All entries of the layer.
    Entries,
    /// The rows of the pass as they were when the policy was asked; older entries stay.
    Rows,
}

/// A policy's answer at a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How the pass goes on.
    pub flow: Flow,
    /// What the cache keeps, applied when the layer has attended.
    pub keep: Vec<Keep>,
}

impl Step {
    /// Change nothing.
    pub fn go_on() -> Self {
        Self { flow: Flow::Continue, keep: Vec::new() }
    }

    /// End the pass here.
    pub fn stop() -> Self {
        Self { flow: Flow::Stop, keep: Vec::new() }
    }

    /// Go on with fewer rows, at the positions they have or closed up.
    pub fn narrow(rows: Selection, close_up: bool) -> Self {
        Self { flow: Flow::Narrow { rows, close_up }, keep: Vec::new() }
    }

    /// Go on with all rows and let the cache of one layer keep some entries.
    pub fn keep(layer: usize, entries: Selection) -> Self {
        let keep = Keep { layers: layer..layer + 1, entries, among: Among::Entries, renumber: false };
        Self { flow: Flow::Continue, keep: vec![keep] }
    }
}

/// A remark that does not stop the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable name, `W_...`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

/// What a policy kept of the prompt, and why. Default: nothing, of nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// The layer whose scores chose (the last one where several did).
    pub layer: usize,
    /// Tokens asked for.
    pub budget: usize,
    /// Kept prompt tokens by index in the prompt, ascending.
    pub indices: Vec<u32>,
    /// The score of each kept token.
    pub scores: Vec<f32>,
    /// The score of every prompt token, where one row of scores covers the prompt.
    pub all_scores: Option<Vec<f32>>,
    /// Where layer, budget and score come from, in one sentence.
    pub reason: String,
    /// The policy that served, as `{ kind, ...options }`, where a policy chose one.
    pub served: Option<serde_json::Value>,
    /// Where layers or heads keep different tokens: what each head of each layer keeps, by index in the
    /// prompt. Then a token's score is the share of heads that keep it, layers counting alike.
    pub heads: Option<Vec<LayerHeads>>,
    /// Remarks.
    pub warnings: Vec<Warning>,
}

/// What the heads of one layer keep, one list a head (or one for all).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerHeads {
    /// The layer.
    pub layer: usize,
    /// Prompt indices, ascending.
    pub heads: Vec<Vec<u32>>,
}

/// A selection method. Every method has a default, and the defaults are full attention.
///
/// One instance serves one session. A policy never runs the model. What a method fails with ends the request: mostly
/// `ERR_INVALID_ARG`, for an option that only the prompt shows to be wrong, or `ERR_NUMERICS`.
pub trait Policy: Send {
    /// The first pass. Default: the prompt as it is, through every layer.
    fn begin(&mut self, prompt: Pass, shape: &Shape) -> Result<Pass> {
        let _ = shape;
        Ok(prompt)
    }

    /// The label of a row's cache entry, asked for every row in order. Default: none.
    fn tag(&mut self, token: u32) -> u32 {
        let _ = token;
        0
    }

    /// Who may see whom. A layer's own window narrows it further. Default: causal.
    fn visibility(&self) -> Visibility {
        Visibility::Causal
    }

    /// What this layer of this pass must leave behind. Default: nothing, at no cost.
    fn evidence(&self, layer: usize, pass: &Pass) -> Evidence {
        let _ = (layer, pass);
        Evidence::None
    }

    /// Called at layers that leave evidence, once keys are known and *before* attention and MLP.
    /// Default: go on.
    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        let _ = seen;
        Ok(Step::go_on())
    }

    /// Whether decoding only appends: no tags, no anchors, no evidence and no answer in any step, and positions that the
    /// session counts. Then a GPU may go ahead of the host. Default: no, which is always right.
    fn is_steady(&self) -> bool {
        false
    }

    /// The position the next row takes, where positions are slots of the cache. Default: none, the
    /// session counts.
    fn next_position(&self, cache: &KvCache) -> Option<u32> {
        let _ = cache;
        None
    }

    /// After a pass of any stage: another pass, or none. Default: none.
    fn after_pass(&mut self, pass: &Pass, cache: &mut KvCache) -> Result<Option<Pass>> {
        let _ = (pass, cache);
        Ok(None)
    }

    /// What was kept of the prompt. Default: nothing was chosen.
    fn report(&self) -> Option<Report> {
        None
    }
}

impl Rows {
    /// Asks the policy for every row's label.
    pub fn tag_with(&mut self, policy: &mut dyn Policy) {
        for (tag, &token) in self.tags.iter_mut().zip(&self.tokens) {
            *tag = policy.tag(token);
        }
    }
}
