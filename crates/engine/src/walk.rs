//! The one loop: a pass through the layers of a model.

use std::ops::Range;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use skimlm_core::{
    Code, Error, Evidence, Flow, KvCache, LayerCache, LayerShape, Model, Pass, Policy, Result, Rotary, Seen, Selection,
    Stage, Step, Visibility, Which,
};
use skimlm_kernels::gather;
use skimlm_kernels::rope::{self, Angles};

use crate::control::{Control, Progress};

/// Where a walk ended.
#[derive(Debug)]
pub struct Walked {
    /// The pass with the rows that were left at its end.
    pub pass: Pass,
    /// The residual stream of those rows, `[rows, hidden]`; none if the policy stopped the pass.
    pub hidden: Option<Tensor>,
    /// Time spent on evidence and on the policy's answers.
    pub selecting: Duration,
}

/// Walks a pass through its layers.
///
/// `dtype` is the type of the entries of a scratch pass; a pass that keeps keys uses the cache's own. Queries and keys
/// are turned for the length that the pass and its headroom have: a cache that holds entries of another length is for a
/// [`Session`](crate::Session), which goes on by the rotations that it began with. Layer-major: the residual `[rows,
/// hidden]` is updated in place, chunk by chunk, so that memory is the residual, one chunk's activations and the keys
/// and values that stay (one layer's at a time in a scratch pass).
///
/// `ERR_EMPTY_PROMPT` without rows, `ERR_CANCELLED` once cancelled, `ERR_NUMERICS` with the layer for scores that are NaN or
/// infinite, what the policy answers, and what a kernel or a tensor operation fails with.
pub fn walk(
    model: &dyn Model,
    cache: &mut KvCache,
    dtype: DType,
    policy: &mut dyn Policy,
    pass: Pass,
    control: &mut Control<'_>,
) -> Result<Walked> {
    let rotaries = model.rotaries(control.length(&pass.rows.positions));
    walk_by(rotaries, model, cache, dtype, policy, pass, control)
}

/// [`walk`] by given rotations, indexed as those of [`Model::rotaries`].
pub(crate) fn walk_by(
    rotaries: Vec<Rotary>,
    model: &dyn Model,
    cache: &mut KvCache,
    dtype: DType,
    policy: &mut dyn Policy,
    pass: Pass,
    control: &mut Control<'_>,
) -> Result<Walked> {
    if pass.rows.is_empty() {
        return Err(Error::new(Code::EmptyPrompt, "there are no tokens to read. Pass text or tokens."));
    }
    let layers = pass.layers.clone();
    let mut walk = Walk {
        x: model.embed(&pass.rows.tokens)?,
        turns: Turns::new(rotaries, &pass.rows.positions, model.device())?,
        total: pass.rows.len(),
        selecting: Duration::ZERO,
        model,
        policy,
        pass,
        control,
    };
    walk.reserve(layers.clone(), cache)?;
    for layer in layers {
        let rows = walk.pass.rows.len();
        let step = if walk.pass.keeps_keys() {
            walk.layer(layer, cache.layer_mut(layer)?)?
        } else {
            let shape = model.shape();
            let mut scratch = LayerCache::new(shape, dtype, model.device(), walk.pass.rows.len())?;
            walk.layer(layer, &mut scratch)?
        };
        for keep in &step.keep {
            cache.keep(keep, rows, &|layer| walk.turns.rotaries.get(walk.layer_shape(layer).rotary).cloned())?;
        }
        if step.flow == Flow::Stop {
            return Ok(Walked { pass: walk.pass, hidden: None, selecting: walk.selecting });
        }
    }
    Ok(Walked { pass: walk.pass, hidden: Some(walk.x), selecting: walk.selecting })
}

/// Rows and their residual stream are one value: they are narrowed together or not at all.
struct Walk<'w, 'c> {
    model: &'w dyn Model,
    policy: &'w mut dyn Policy,
    control: &'w mut Control<'c>,
    pass: Pass,
    x: Tensor, // (rows, hidden)
    turns: Turns,
    total: usize,
    selecting: Duration,
}

impl Walk<'_, '_> {
    /// Makes room for entries that stay, in all layers at once: made one by one between activations they would break
    /// up the memory that these leave behind (21 MiB at 8000 tokens with a cache of 8 bits, which has 93).
    fn reserve(&self, layers: Range<usize>, cache: &mut KvCache) -> Result<()> {
        let stay = |layer| matches!(self.policy.evidence(layer, &self.pass), Evidence::None);
        if self.pass.stage == Stage::Prefill && self.pass.keeps_keys() && layers.clone().all(stay) {
            for layer in layers {
                cache.layer_mut(layer)?.reserve(self.pass.rows.len() + self.control.headroom)?;
            }
        }
        Ok(())
    }

    /// One layer for all rows.
    fn layer(&mut self, layer: usize, cache: &mut LayerCache) -> Result<Step> {
        // Token by token the cache grows in strides of its own.
        if self.pass.stage != Stage::Decode {
            let room = if self.pass.stage == Stage::Prefill { self.control.headroom } else { 0 };
            cache.reserve(self.pass.rows.len() + room)?;
        }
        let step = match self.policy.evidence(layer, &self.pass) {
            Evidence::None => {
                for chunk in self.chunks() {
                    let x = self.rows_of(&chunk)?;
                    let projected = self.model.project(layer, &x, Which::ALL)?;
                    let (Some(q), Some(k), Some(v)) = (projected.q, projected.k, projected.v) else {
                        return Err(missing());
                    };
                    self.append_keys(layer, cache, &chunk, &k)?;
                    cache.append_values(&v)?;
                    drop((k, v));
                    self.rotate(layer, &chunk, &q)?;
                    self.attend(layer, cache, &chunk, q)?;
                }
                Step::go_on()
            }
            evidence => self.selection_layer(layer, cache, &evidence)?,
        };
        Ok(step)
    }

    /// Keys of all rows first, then the policy's answer, then the rest for the rows that are left
    /// (lossless: GemFilter needs no more than the keys of its filter layer,
    /// PromptDistill runs q, attention and MLP for the kept rows only).
    fn selection_layer(&mut self, layer: usize, cache: &mut LayerCache, evidence: &Evidence) -> Result<Step> {
        for chunk in self.chunks() {
            self.control.cancel.check()?;
            let k = self.model.project(layer, &self.rows_of(&chunk)?, Which::K)?.k.ok_or_else(missing)?;
            self.append_keys(layer, cache, &chunk, &k)?;
        }
        let started = Instant::now();
        let mut asked = None;
        let scores = match evidence {
            Evidence::Scores { queries, form, scale, heads } => {
                let asking = queries.range(self.pass.rows.len());
                let q = self.queries(layer, &asking)?;
                let positions = &self.pass.rows.positions[asking];
                let scores = cache
                    .score(&q, positions, *scale, *form, self.visibility(layer), heads)
                    .map_err(|error| error.in_layer(layer))?;
                asked = Some(q);
                scores
            }
            Evidence::Keys(what) => cache.measure(*what).map_err(|error| error.in_layer(layer))?,
            Evidence::None | Evidence::Entries => Vec::new(),
        };
        let step = self
            .policy
            .at_layer(Seen { layer, pass: &self.pass, cache, scores: &scores })
            .map_err(|error| error.in_layer(layer))?;
        self.selecting += started.elapsed();
        if step.flow == Flow::Stop {
            return Ok(step);
        }
        for chunk in self.chunks() {
            self.control.cancel.check()?;
            let v = self.model.project(layer, &self.rows_of(&chunk)?, Which::V)?.v.ok_or_else(missing)?;
            cache.append_values(&v)?;
        }
        if let Flow::Narrow { rows, .. } = &step.flow {
            self.narrow(rows)?;
        }
        // Where every row has asked, its query is there already.
        let asked = asked.filter(|q| q.dims()[0] == self.pass.rows.len() && step.flow == Flow::Continue);
        for chunk in self.chunks() {
            let q = match &asked {
                Some(q) => q.narrow(0, chunk.start, chunk.len())?,
                None => self.queries(layer, &chunk)?,
            };
            self.attend(layer, cache, &chunk, q)?;
        }
        if let Flow::Narrow { close_up: true, .. } = &step.flow {
            self.close_up()?;
        }
        Ok(step)
    }

    /// Rotated queries of some rows, `[rows, heads, head_dim]`.
    fn queries(&self, layer: usize, rows: &Range<usize>) -> Result<Tensor> {
        let parts = rows
            .clone()
            .step_by(self.control.chunk)
            .map(|start| {
                let part = start..(start + self.control.chunk).min(rows.end);
                let q = self.model.project(layer, &self.rows_of(&part)?, Which::Q)?.q.ok_or_else(missing)?;
                self.rotate(layer, &part, &q)?;
                Ok(q)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }

    fn append_keys(&self, layer: usize, cache: &mut LayerCache, chunk: &Range<usize>, k: &Tensor) -> Result<()> {
        self.rotate(layer, chunk, k)?;
        let rows = &self.pass.rows;
        cache.append_keys(k, &rows.positions[chunk.clone()], &rows.tags[chunk.clone()])
    }

    fn rotate(&self, layer: usize, rows: &Range<usize>, x: &Tensor) -> Result<()> {
        Ok(rope::rotate(x, &self.turns.of(self.layer_shape(layer).rotary, rows)?)?)
    }

    /// Attention of rotated queries and the rest of the layer for one chunk, written back in place.
    fn attend(&mut self, layer: usize, cache: &LayerCache, chunk: &Range<usize>, q: Tensor) -> Result<()> {
        self.control.cancel.check()?;
        let attended = cache.attend(&q, &self.pass.rows.positions[chunk.clone()], self.visibility(layer))?;
        // What is dropped early is memory that the MLP need not find elsewhere.
        drop(q);
        let x = self.rows_of(chunk)?;
        let out = self.model.finish(layer, &x, attended)?;
        if chunk.len() == self.pass.rows.len() {
            self.x = out;
        } else {
            self.x.slice_set(&out, 0, chunk.start)?;
        }
        self.report(layer, chunk.end);
        Ok(())
    }

    fn narrow(&mut self, selection: &Selection) -> Result<()> {
        let Some(kept) = selection.as_shared() else {
            return Err(Error::new(Code::Internal, "rows are narrowed for all heads alike."));
        };
        self.x = gather::rows(&self.x, kept)?;
        self.pass.rows = self.pass.rows.gather(kept);
        self.turns.turn_to(&self.pass.rows.positions)?;
        Ok(())
    }

    /// Positions without gaps that end where they end now.
    fn close_up(&mut self) -> Result<()> {
        let (n, last) = (self.pass.rows.len(), self.pass.rows.positions.last().copied().unwrap_or(0));
        // Ascending positions are at least as far apart as their rows.
        self.pass.rows.positions = (0..n as u32).map(|i| last - (n as u32 - 1 - i)).collect();
        self.turns.turn_to(&self.pass.rows.positions)
    }

    fn chunks(&self) -> Vec<Range<usize>> {
        let n = self.pass.rows.len();
        (0..n).step_by(self.control.chunk).map(|start| start..(start + self.control.chunk).min(n)).collect()
    }

    fn rows_of(&self, chunk: &Range<usize>) -> Result<Tensor> {
        Ok(self.x.narrow(0, chunk.start, chunk.len())?)
    }

    fn layer_shape(&self, layer: usize) -> LayerShape {
        self.model.shape().layers.get(layer).copied().unwrap_or_default()
    }

    fn visibility(&self, layer: usize) -> Visibility {
        visibility(self.policy, self.layer_shape(layer))
    }

    /// Every layer is the same share of the pass, however many rows are left in it.
    fn report(&mut self, layer: usize, rows_done: usize) {
        if self.pass.stage == Stage::Decode {
            return;
        }
        let (rows, layers) = (self.pass.rows.len().max(1), self.pass.layers.len().max(1));
        let done = self.total * ((layer - self.pass.layers.start) * rows + rows_done) / (layers * rows);
        (self.control.progress)(Progress { stage: self.pass.stage, done, total: self.total });
    }
}

/// Who sees whom in a layer, its own window included.
pub(crate) fn visibility(policy: &dyn Policy, layer: LayerShape) -> Visibility {
    match layer.window {
        Some(width) => policy.visibility().within(width),
        None => policy.visibility(),
    }
}

pub(crate) fn missing() -> Error {
    Error::new(Code::Internal, "the model left out a projection that was asked for.")
}

/// The angles of some rows, one set for each rotation the model's layers use.
pub(crate) struct Turns {
    rotaries: Vec<Rotary>,
    angles: Vec<Angles>,
    device: Device,
}

impl Turns {
    pub(crate) fn new(rotaries: Vec<Rotary>, positions: &[u32], device: &Device) -> Result<Self> {
        let mut turns = Self { rotaries, angles: Vec::new(), device: device.clone() };
        turns.turn_to(positions)?;
        Ok(turns)
    }

    fn turn_to(&mut self, positions: &[u32]) -> Result<()> {
        self.angles = self.rotaries.iter().map(|r| r.angles(positions, &self.device)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// All rows by one of the rotations; `ERR_INTERNAL` if there is no such one.
    pub(crate) fn all(&self, which: usize) -> Result<&Angles> {
        self.angles.get(which).ok_or_else(|| {
            Error::new(Code::Internal, format!("rotation {which} of {} was asked for.", self.angles.len()))
        })
    }

    fn of(&self, which: usize, rows: &Range<usize>) -> Result<Angles> {
        Ok(self.all(which)?.rows(rows.start, rows.len())?)
    }
}
