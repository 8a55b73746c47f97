//! The one training loop.

use std::time::Instant;

use candle_core::DType;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skimlm_core::{Code, Error, Result};
use skimlm_engine::{Cancel, files};

use crate::checkpoint::{Checkpoint, Files};
use crate::journal::{Journal, Line};
use crate::net::{Batch, Net};
use crate::optim::{Optimizer, Rate};
use crate::plot;

/// What is learned.
pub trait Course {
    /// What changes during a run.
    type State: Serialize + DeserializeOwned;

    /// Where it is.
    fn state(&self) -> Self::State;

    /// Goes back to where it was.
    fn restore(&mut self, state: Self::State);

    /// What is read at a step. The same step of the same course gives the same batch.
    fn batch(&mut self, step: u64) -> Result<Batch>;

    /// Hears which token the model ranked first for each answer; gives the accuracy to report.
    fn learned(&mut self, batch: &Batch, first: &[u32]) -> f32;

    /// Measures what is not seen in training: called before the first step and before every line of the log.
    fn measure(&mut self, step: u64, net: &Net) -> Result<()> {
        let _ = (step, net);
        Ok(())
    }

    /// What to note beside loss and accuracy.
    fn note(&self) -> Map<String, Value> {
        Map::new()
    }
}

/// How a run goes.
#[derive(Debug)]
pub struct Plan {
    /// The learning rate, and how many steps there are.
    pub rate: Rate,
    /// Updates between lines of the log.
    pub log_every: u64,
    /// Updates between saves.
    pub save_every: u64,
    /// Number format of the saved model.
    pub dtype: DType,
    /// Above the curve.
    pub title: String,
    /// Files of the model beside its weights.
    pub files: Files,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All steps are done.
    Done,
    /// It was stopped and saved.
    Stopped,
}

#[derive(Serialize, Deserialize)]
struct Progress<S> {
    counts: Counts,
    course: S,
    lines: Vec<Line>,
}

/// What a run counts.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Counts {
    seconds: f64,
    tokens: u64,
    /// Since the last line of the log.
    loss: f64,
    accuracy: f64,
    steps: u64,
}

/// A run: what is trained, on what, and where it is kept.
pub struct Run<C> {
    /// The model.
    pub net: Net,
    /// Its variables.
    pub optimizer: Optimizer,
    /// What it learns.
    pub course: C,
    checkpoint: Checkpoint,
    journal: Journal,
    plan: Plan,
    counts: Counts,
}

impl<C: Course> Run<C> {
    /// A run from its beginning. Nothing is written yet.
    pub fn new(net: Net, optimizer: Optimizer, course: C, checkpoint: Checkpoint, plan: Plan) -> Self {
        let journal = Journal::new(&checkpoint.log(), Vec::new());
        Self { net, optimizer, course, checkpoint, journal, plan, counts: Counts::default() }
    }

    /// Goes on where the checkpoint's folder was left. Steps that were not saved are done again, alike.
    pub fn resume(mut self) -> Result<Self> {
        let progress: Progress<C::State> = self.checkpoint.load_state(&mut self.optimizer)?;
        self.journal = Journal::new(&self.checkpoint.log(), progress.lines);
        self.course.restore(progress.course);
        Ok(Self { counts: progress.counts, ..self })
    }

    /// Trains to the end of the plan, or until `cancel` is set; either way the folder is up to date
    /// afterwards. `told` hears every line of the log, `ticked` every step.
    ///
    /// `ERR_NUMERICS` if the loss is not a number; the folder then holds the last save.
    pub fn train(
        &mut self,
        cancel: &Cancel,
        told: &mut dyn FnMut(&Line),
        ticked: &mut dyn FnMut(u64, f64),
    ) -> Result<End> {
        if self.optimizer.steps == 0 {
            self.course.measure(0, &self.net)?;
        }
        let before = self.counts.seconds;
        let started = Instant::now();
        while self.optimizer.steps < self.plan.rate.steps {
            if cancel.is_set() {
                self.save()?;
                return Ok(End::Stopped);
            }
            let step = self.optimizer.steps;
            let batch = self.course.batch(step)?;
            let (loss, first) = self.net.loss(&batch)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                let message = format!(
                    "the loss is {value} at step {step}; lower the learning rate and go on from the last save with --resume."
                );
                return Err(Error::new(Code::Numerics, message).with("step", step));
            }
            let rate = self.plan.rate.at(step);
            self.optimizer.step(&loss.backward()?, rate)?;
            let accuracy = f64::from(self.course.learned(&batch, &first));
            let counts = &mut self.counts;
            counts.seconds = before + started.elapsed().as_secs_f64();
            counts.tokens += batch.ids.len() as u64;
            (counts.loss, counts.accuracy, counts.steps) =
                (counts.loss + value, counts.accuracy + accuracy, counts.steps + 1);
            let done = self.optimizer.steps;
            ticked(done, value);
            if done.is_multiple_of(self.plan.log_every) || done == self.plan.rate.steps {
                self.course.measure(done, &self.net)?;
                let Counts { seconds, tokens, loss, accuracy, steps } = self.counts;
                let line = Line {
                    step: done,
                    seconds: (seconds * 10.0).round() / 10.0,
                    loss: loss / steps as f64,
                    accuracy: accuracy / steps as f64,
                    rate,
                    tokens,
                    more: self.course.note(),
                };
                self.counts = Counts { seconds, tokens, ..Counts::default() };
                told(&line);
                self.journal.push(line);
            }
            if done.is_multiple_of(self.plan.save_every) {
                self.save()?;
            }
        }
        self.save()?;
        Ok(End::Done)
    }

    /// Brings the folder up to date.
    fn save(&self) -> Result<()> {
        let lines = self.journal.lines().to_vec();
        let progress = Progress { counts: self.counts, course: self.course.state(), lines };
        // The state first: from it everything else can be made again.
        self.checkpoint.save_state(&self.optimizer, &progress)?;
        self.journal.save()?;
        if self.journal.lines().len() > 1 {
            files::write(&self.checkpoint.plot(), plot::curve(&self.plan.title, self.journal.lines())?.as_bytes())?;
        }
        self.checkpoint.save_model(&self.net, &self.plan.files, self.plan.dtype)
    }
}
