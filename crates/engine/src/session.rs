use std::time::{Duration, Instant};

use candle_core::{DType, Tensor};
use skimlm_core::{Code, Error, KvCache, LayerAhead, Model, Pass, Policy, Report, Result, Role, Rotary, Rows, Stage};

use crate::control::Control;
use crate::walk::{visibility, walk_by};

/// Time that a session has spent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Filter passes, evidence and choice left out.
    pub filter: Duration,
    /// Evidence and choice, in whichever pass.
    pub select: Duration,
    /// The pass whose keys stay, evidence and choice left out.
    pub prefill: Duration,
    /// Generated tokens, evidence and choice left out.
    pub decode: Duration,
}

/// One conversation: a cache and a policy over a borrowed model.
pub struct Session<'m> {
    model: &'m dyn Model,
    policy: Box<dyn Policy>,
    cache: KvCache,
    dtype: DType,
    next_position: u32,
    turned: Turned,
    timings: Spent,
}

/// What the keys of a cache were turned by. Tables may depend on the length of the text (LongRoPE, dynamic scaling),
/// and those of two lengths must not meet in one cache.
#[derive(Default)]
struct Turned {
    /// Positions of a text that the rotations are right for.
    length: usize,
    rotaries: Vec<Rotary>,
}

impl<'m> Session<'m> {
    /// An empty session. `dtype` is the type of cached keys and values, one of [`skimlm_kernels::cached`].
    /// Errors as in [`KvCache::new`].
    pub fn new(model: &'m dyn Model, policy: Box<dyn Policy>, dtype: DType) -> Result<Self> {
        let cache = KvCache::new(model.shape(), dtype, model.device(), 0)?;
        let (turned, timings) = (Turned::default(), Spent::default());
        Ok(Self { model, policy, cache, dtype, next_position: 0, turned, timings })
    }

    /// A session that goes on behind entries made earlier, turned for a text of so many positions.
    pub(crate) fn behind(
        model: &'m dyn Model,
        policy: Box<dyn Policy>,
        cache: KvCache,
        dtype: DType,
        next_position: u32,
        turned_for: usize,
    ) -> Self {
        let turned = Turned { length: turned_for, rotaries: model.rotaries(turned_for) };
        Self { model, policy, cache, dtype, next_position, turned, timings: Spent::default() }
    }

    pub(crate) fn model(&self) -> &'m dyn Model {
        self.model
    }

    /// Reads rows behind what has been read before and gives the logits `[vocab]` of the token that
    /// follows. Positions are counted from the session's next one; roles and tokens are the caller's.
    ///
    /// Errors as in [`walk`](crate::walk()); `ERR_INTERNAL` if the policy stops the last pass, `ERR_CONTEXT_OVERFLOW`
    /// where the text gets so long that the keys of an earlier prompt would have to be turned otherwise.
    pub fn prefill(&mut self, rows: Rows, control: &mut Control<'_>) -> Result<Vec<f32>> {
        let first = self.begin(rows)?;
        numbers(&self.run(first, control)?)
    }

    /// Walks passes until the policy has chosen; a pass is walked to the end that the policy gives it, and its keys
    /// stay if it keeps any. No logits are computed. Errors as in [`Session::prefill`].
    pub fn select(&mut self, rows: Rows, control: &mut Control<'_>) -> Result<Option<Report>> {
        let mut next = Some(self.begin(rows)?);
        while self.policy.report().is_none()
            && let Some(pass) = next
        {
            let (walked, _) = self.walk(pass, control)?;
            next =
                if self.policy.report().is_none() { self.policy.after_pass(&walked, &mut self.cache)? } else { None };
        }
        Ok(self.policy.report())
    }

    /// Appends one generated token and gives the logits `[vocab]` of the next. Errors as in [`Session::prefill`].
    pub fn step(&mut self, token: u32, control: &mut Control<'_>) -> Result<Vec<f32>> {
        numbers(&self.step_on(token, control)?)
    }

    /// [`Session::step`] whose logits `[1, vocab]` stay where they are.
    pub(crate) fn step_on(&mut self, token: u32, control: &mut Control<'_>) -> Result<Tensor> {
        let mut rows = Rows::consecutive(vec![token], self.next_position, Role::Document);
        rows.tag_with(&mut *self.policy);
        let pass = Pass { stage: Stage::Decode, rows, layers: 0..self.model.shape().layers.len() };
        self.run(pass, control)
    }

    fn begin(&mut self, mut rows: Rows) -> Result<Pass> {
        rows.positions = (self.next_position..).take(rows.len()).collect();
        rows.tag_with(&mut *self.policy);
        let shape = self.model.shape();
        self.policy.begin(Pass { stage: Stage::Prefill, rows, layers: 0..shape.layers.len() }, shape)
    }

    /// Walks a pass and those the policy wants after it; the logits `[1, vocab]` of the last one's last row.
    fn run(&mut self, first: Pass, control: &mut Control<'_>) -> Result<Tensor> {
        let mut next = Some(first);
        let mut last = None;
        while let Some(pass) = next {
            let (walked, hidden) = self.walk(pass, control)?;
            next = self.policy.after_pass(&walked, &mut self.cache)?;
            last = hidden;
        }
        let hidden = last.ok_or_else(|| Error::new(Code::Internal, "the policy stopped the last pass."))?;
        self.logits(&hidden)
    }

    fn walk(&mut self, pass: Pass, control: &mut Control<'_>) -> Result<(Pass, Option<Tensor>)> {
        let started = Instant::now();
        let length = control.length(&pass.rows.positions);
        let rotaries = if pass.keeps_keys() { self.rotaries(length)? } else { self.model.rotaries(length) };
        let walked = walk_by(rotaries, self.model, &mut self.cache, self.dtype, &mut *self.policy, pass, control)?;
        let spent = started.elapsed().saturating_sub(walked.selecting);
        self.timings.select += walked.selecting;
        match walked.pass.stage {
            Stage::Filter => self.timings.filter += spent,
            Stage::Prefill => self.timings.prefill += spent,
            Stage::Decode => self.timings.decode += spent,
        }
        if walked.pass.keeps_keys() {
            let counted = walked.pass.rows.positions.last().map_or(self.next_position, |p| p + 1);
            self.next_position = self.policy.next_position(&self.cache).unwrap_or(counted);
        }
        Ok((walked.pass, walked.hidden))
    }

    /// The rotations of keys that stay, in a text of `length` positions: those of the keys that are there already.
    pub(crate) fn rotaries(&mut self, length: usize) -> Result<Vec<Rotary>> {
        let empty = self.cache.lengths().iter().all(|&entries| entries == 0);
        if empty || length > self.turned.length {
            let rotaries = self.model.rotaries(length);
            if !empty && rotaries != self.turned.rotaries {
                let read_for = self.turned.length;
                let message = format!(
                    "What has been read was turned for a text of {read_for} positions, and one of {length} is turned \
                     otherwise. Read it as one prompt, or with more `headroom` from the start."
                );
                return Err(Error::new(Code::ContextOverflow, message).with("length", length).with("limit", read_for));
            }
            self.turned = Turned { length, rotaries };
        }
        Ok(self.turned.rotaries.clone())
    }

    /// Positions of a text that the keys were turned for.
    pub(crate) fn turned_for(&self) -> usize {
        self.turned.length
    }

    /// Whether steps may be ahead of the host.
    pub(crate) fn is_steady(&self) -> bool {
        self.policy.is_steady()
    }

    /// Room for entries at the positions of coming steps, a layer each.
    pub(crate) fn layers_ahead(&mut self, positions: &[u32]) -> Result<Vec<LayerAhead>> {
        let layers = self.model.shape().layers.iter().enumerate();
        layers
            .map(|(index, &shape)| self.cache.layer_mut(index)?.ahead(positions, visibility(&*self.policy, shape)))
            .collect()
    }

    /// Takes a step that was done ahead as done.
    pub(crate) fn note(&mut self) -> Result<()> {
        self.cache.note(self.next_position)?;
        self.next_position += 1;
        Ok(())
    }

    /// Adds time that steps ahead took.
    pub(crate) fn decoded_for(&mut self, time: Duration) {
        self.timings.decode += time;
    }

    /// The position the next token takes.
    pub fn next_position(&self) -> u32 {
        self.next_position
    }

    /// The entries that are kept.
    pub fn cache(&self) -> &KvCache {
        &self.cache
    }

    /// What the policy kept of the last prompt.
    pub fn report(&self) -> Option<Report> {
        self.policy.report()
    }

    /// Time spent so far.
    pub fn timings(&self) -> Spent {
        self.timings
    }

    /// Logits of the last row of `[rows, hidden]`; the others are never computed.
    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.model.head(&hidden.narrow(0, hidden.dims2()?.0 - 1, 1)?)
    }
}

fn numbers(logits: &Tensor) -> Result<Vec<f32>> {
    Ok(logits.flatten_all()?.to_vec1()?)
}
