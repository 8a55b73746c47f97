//! Training the small task from nothing, on a curriculum.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use skimlm_core::Result;
use skimlm_models::Config;
use skimlm_models::weights::Weights;
use skimlm_models::weights::random::{self, Sizes};

use crate::checkpoint::{Files, config_json};
use crate::course::Course;
use crate::net::{Batch, Net};
use crate::random::Random;
use crate::task::{Level, Sample, accuracy, at_least_one, batch};
use crate::words::{BOS, END, Words};

/// Accuracy at which the task becomes harder.
const GROW: f32 = 0.9;
/// How slowly the running accuracy forgets.
const MEMORY: f32 = 0.97;

/// The small task with a level that rises: one pair a segment and no filler words at first, then one
/// filler more, then one pair more, whenever the running accuracy passes 0.9. With everything at once
/// the model does not leave its plateau.
#[derive(Debug, Clone)]
pub struct Anchors {
    seed: u64,
    sequences: usize,
    questions: usize,
    /// Share of the steps with full attention, so that one model serves both caches.
    full: f32,
    segments: usize,
    goal: (usize, usize),
    state: AnchorsState,
}

/// Where a course is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnchorsState {
    pairs: usize,
    fillers: usize,
    running: f32,
}

impl Anchors {
    /// A course towards `goal`. `ERR_INVALID_ARG` for a goal that cannot be reached, and where nothing is asked.
    pub fn new(goal: Level, sequences: usize, questions: usize, full: f32, seed: u64) -> Result<Self> {
        goal.check()?;
        at_least_one("sequences", sequences)?;
        at_least_one("questions", questions)?;
        Ok(Self {
            seed,
            sequences,
            questions,
            full,
            segments: goal.segments,
            goal: (goal.pairs, goal.fillers),
            state: AnchorsState { pairs: 1, fillers: 0, running: 0.0 },
        })
    }

    /// The level so far.
    pub fn level(&self) -> Level {
        Level { segments: self.segments, pairs: self.state.pairs, fillers: self.state.fillers }
    }
}

impl Course for Anchors {
    type State = AnchorsState;

    fn state(&self) -> AnchorsState {
        self.state
    }

    fn restore(&mut self, state: AnchorsState) {
        self.state = state;
    }

    fn batch(&mut self, step: u64) -> Result<Batch> {
        let mut random = Random::new(self.seed, step);
        let full = random.unit() < self.full;
        let level = self.level();
        let samples: Vec<Sample> = (0..self.sequences).map(|_| Sample::draw(level, &mut random)).collect();
        Ok(batch(&samples, level, self.questions, full))
    }

    fn learned(&mut self, batch: &Batch, first: &[u32]) -> f32 {
        let accuracy = accuracy(batch, first);
        let AnchorsState { pairs, fillers, running } = &mut self.state;
        *running = MEMORY * *running + (1.0 - MEMORY) * accuracy;
        if *running > GROW && (*pairs, *fillers) != self.goal {
            if *fillers < self.goal.1 {
                *fillers += 1;
            } else {
                *pairs += 1;
            }
            *running = 0.5;
        }
        accuracy
    }

    fn note(&self) -> Map<String, Value> {
        let AnchorsState { pairs, fillers, running } = self.state;
        let note = json!({ "pairs": pairs, "fillers": fillers, "running": (f64::from(running) * 1e4).round() / 1e4 });
        note.as_object().cloned().unwrap_or_default()
    }
}

/// A Llama of 4 heads with the vocabulary of the task. `ERR_MODEL_CORRUPT` for sizes that cannot be.
pub fn config(hidden: usize, layers: usize, mlp: usize) -> Result<Config> {
    let (vocab, heads, head_dim) = (Words::count(), 4, hidden / 4);
    let sizes = Sizes { vocab, hidden, layers, heads, kv_heads: heads, head_dim, mlp, ..Sizes::default() };
    let plain = random::Random::new(&sizes)?.config().clone();
    Ok(Config { architecture: "llama".into(), tied_head: true, ..plain })
}

/// The files of the model beside its weights.
pub fn files(config: &Config) -> Result<Files> {
    let line = |value: Value| format!("{value}\n").into_bytes();
    Ok(vec![
        ("config.json".into(), config_json(config, Some(BOS), &[END])?),
        ("tokenizer.json".into(), line(Words::tokenizer())),
        ("tokenizer_config.json".into(), line(Words::settings())),
    ])
}

/// Accuracy on sequences that training does not see: with the anchors alone, and with full attention.
pub fn evaluate(net: &Net, level: Level, samples: &[Sample]) -> Result<(f32, f32)> {
    let mut sums = [0f32; 2];
    for chunk in samples.chunks(32) {
        for (sum, full) in sums.iter_mut().zip([false, true]) {
            let batch = batch(chunk, level, usize::MAX, full);
            *sum += accuracy(&batch, &net.loss(&batch)?.1) * chunk.len() as f32;
        }
    }
    let n = samples.len().max(1) as f32;
    Ok((sums[0] / n, sums[1] / n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_that_asks_nothing_or_too_much_is_refused() {
        let goal = Level { segments: 8, pairs: 1, fillers: 0 };
        let made = |goal, sequences, questions| Anchors::new(goal, sequences, questions, 0.0, 1);
        made(goal, 1, 1).unwrap();
        let refused = [
            (made(goal, 0, 1), "sequences"),
            (made(goal, 1, 0), "questions"),
            (made(Level { segments: 0, ..goal }, 1, 1), "segments"),
            (made(Level { segments: 33, pairs: 0, ..goal }, 1, 1), "pairs"),
            (made(Level { pairs: 5, ..goal }, 1, 1), "pairs"),
        ];
        for (course, option) in refused {
            assert_eq!(course.unwrap_err().details["option"], option);
        }
    }
}
