//! Steps of decoding, one by one or ahead of the host.
//!
//! Decoding under a steady policy needs nothing of the host: the next token is the most likely one or drawn by a random
//! number that is known, its position follows, and the cache only grows. So a GPU does a batch of steps by itself, each a
//! graph that was recorded once, and the host reads their tokens afterwards, one at a time. The cache takes note of an
//! entry when the host comes to its token: whatever the device did behind the last one that was wanted has never
//! happened.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use skimlm_core::{Code, Error, Result, Warning, Which};
use skimlm_kernels::logits::Pick;
use skimlm_kernels::rope::rotate_ahead;
use skimlm_kernels::steps::{Replay, Steps, record};

use crate::control::Control;
use crate::sample::{Next, Sampler};
use crate::session::Session;
use crate::walk::{Turns, missing};

/// Steps between two looks at their tokens.
const BATCH: usize = 8;

/// Steps below which recording is not worth it.
const LEAST: usize = 2 * BATCH;

/// Steps of one recording: their angles and their room in the cache are there from the start.
const MOST: usize = 512;

/// The steps of one answer.
pub struct Stepper<'m> {
    /// Whether steps may be ahead of the host.
    willing: bool,
    ahead: Option<Ahead<'m>>,
}

impl<'m> Stepper<'m> {
    /// Steps behind what `session` has read; `ahead`: whether they may be ahead of the host, which only a GPU gains from
    /// and only a steady policy allows.
    pub fn new(session: &Session<'m>, ahead: bool) -> Self {
        Self { willing: ahead && session.is_steady(), ahead: None }
    }

    /// Reads the token that `sampler` has noted last, the one it chose of the last step, where no more than `left` are wanted
    /// behind it. What keeps a device from going ahead is a warning, and the step an ordinary one. Errors as in
    /// [`Session::step`].
    pub fn step(
        &mut self,
        session: &mut Session<'m>,
        left: usize,
        sampler: &Sampler,
        control: &mut Control<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Next> {
        if self.willing {
            let length = control.length(&[session.next_position()]);
            match self.ahead(session, left, sampler, length) {
                Ok(Some(pick)) => return Ok(Next::Pick(pick)),
                Ok(None) => {}
                Err(error) => {
                    *self = Self { willing: false, ahead: None };
                    let message = format!("Tokens were decoded one by one, more slowly: {}", error.message);
                    warnings.push(Warning { code: "W_NOT_AHEAD", message });
                }
            }
        }
        session.step_on(sampler.last()?, control).map(Next::Logits)
    }

    fn ahead(
        &mut self,
        session: &mut Session<'m>,
        left: usize,
        sampler: &Sampler,
        length: usize,
    ) -> Result<Option<skimlm_kernels::Result<Pick>>> {
        let started = Instant::now();
        let mut ahead = match self.ahead.take() {
            Some(ahead) => ahead,
            None if left < LEAST => return Ok(None),
            None => Ahead::start(session, sampler, left.min(MOST), length)?,
        };
        let pick = ahead.next(session)?;
        // What comes behind the last step of a recording needs another one.
        self.ahead = Some(ahead).filter(|ahead| ahead.taken < ahead.steps.most());
        session.decoded_for(started.elapsed());
        Ok(Some(pick))
    }
}

/// One recording and how far it has come.
struct Ahead<'m> {
    replay: Replay<Box<dyn FnMut() -> Result<()> + 'm>>,
    steps: Rc<Steps>,
    /// Steps that the device has been told to do.
    done: usize,
    /// Steps that the host has come to.
    taken: usize,
    told: VecDeque<skimlm_kernels::Result<Pick>>,
}

impl<'m> Ahead<'m> {
    /// Does the first step, of a text of `length` positions in the end, and records it.
    fn start(session: &mut Session<'m>, sampler: &Sampler, most: usize, length: usize) -> Result<Self> {
        let model = session.model();
        let positions: Vec<u32> = (session.next_position()..).take(most).collect();
        let turns = Turns::new(session.rotaries(length)?, &positions, model.device())?;
        let layers = session.layers_ahead(&positions)?;
        let steps = Rc::new(sampler.steps(most, model.device())?);
        let counter = Rc::clone(&steps);
        let step = move || {
            let mut x = model.embed_ahead(&counter)?;
            for (index, (layer, shape)) in layers.iter().zip(&model.shape().layers).enumerate() {
                let projected = model.project(index, &x, Which::ALL)?;
                let (Some(q), Some(k), Some(v)) = (projected.q, projected.k, projected.v) else {
                    return Err(missing());
                };
                let angles = turns.all(shape.rotary)?;
                rotate_ahead(&k, angles, &counter)?;
                rotate_ahead(&q, angles, &counter)?;
                layer.append(&k, &v, &counter)?;
                x = model.finish(index, &x, layer.attend(&q, &counter)?)?;
            }
            Ok(counter.turn(&model.head(&x)?)?)
        };
        let step: Box<dyn FnMut() -> Result<()> + 'm> = Box::new(step);
        let replay = record(model.device(), step)?;
        Ok(Self { replay, steps, done: 1, taken: 0, told: VecDeque::new() })
    }

    /// What the next step gives; its entry becomes one of the cache's.
    fn next(&mut self, session: &mut Session<'_>) -> Result<skimlm_kernels::Result<Pick>> {
        if self.told.is_empty() {
            let end = (self.taken + BATCH).min(self.steps.most());
            while self.done < end {
                self.replay.run()?;
                self.done += 1;
            }
            self.told = self.steps.read(self.taken..end)?.into();
        }
        let pick = self.told.pop_front();
        session.note()?;
        self.taken += 1;
        pick.ok_or_else(|| Error::new(Code::Internal, "a step ahead told nothing."))
    }
}

#[cfg(test)]
mod tests;
