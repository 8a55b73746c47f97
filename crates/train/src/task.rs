//! The task that shows anchors at work on a small scale: pairs of a key and a value are spread over
//! segments among filler words, every segment ends in an anchor, and questions ask for the value of a key.
//! With the anchor cache a question sees nothing of the segments but their anchors.

use std::sync::Arc;

use skimlm_core::{Error, Result};

use crate::net::Batch;
use crate::random::Random;
use crate::sees::{Sees, anchored};
use crate::words::{AC, ASK, BOS, END, FILLERS, KEYS, VALUES, Words};

/// How hard the task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Segments of a sequence.
    pub segments: usize,
    /// Pairs of a segment.
    pub pairs: usize,
    /// Filler words of a segment.
    pub fillers: usize,
}

impl Level {
    /// Refuses a task without a question, and one of more pairs than there are keys: `ERR_INVALID_ARG`.
    pub fn check(&self) -> Result<()> {
        at_least_one("segments", self.segments)?;
        at_least_one("pairs", self.pairs)?;
        let pairs = self.segments.saturating_mul(self.pairs);
        if pairs > KEYS {
            return Err(Error::invalid_option("pairs", pairs, format!("at most {KEYS} pairs in all")));
        }
        Ok(())
    }

    /// Tokens before the questions.
    pub fn prefix(&self) -> usize {
        1 + self.segments * (2 * self.pairs + self.fillers + 1)
    }
}

/// `ERR_INVALID_ARG` for an option that is 0.
pub fn at_least_one(option: &str, value: usize) -> Result<()> {
    if value == 0 { Err(Error::invalid_option(option, value, "at least 1")) } else { Ok(()) }
}

/// One sequence: what is read, and the pairs in the order of the questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// BOS and the segments.
    pub prefix: Vec<u32>,
    /// Key and value, as token ids.
    pub pairs: Vec<(u32, u32)>,
}

impl Sample {
    /// Draws one.
    pub(crate) fn draw(level: Level, random: &mut Random) -> Self {
        let Level { segments, pairs, fillers } = level;
        let keys = random.choose(segments * pairs, KEYS);
        let pairs_of: Vec<(u32, u32)> =
            keys.iter().map(|&key| (Words::key(key), Words::value(random.below(VALUES)))).collect();
        let mut prefix = vec![BOS];
        for segment in 0..segments {
            // The first `pairs` of a random order of the units are where the pairs stand.
            let order = random.choose(pairs + fillers, pairs + fillers);
            for unit in order {
                if unit < pairs {
                    let (key, value) = pairs_of[segment * pairs + unit];
                    prefix.extend([key, value]);
                } else {
                    prefix.push(Words::filler(random.below(FILLERS)));
                }
            }
            prefix.push(AC);
        }
        let order = random.choose(pairs_of.len(), pairs_of.len());
        Self { prefix, pairs: order.into_iter().map(|i| pairs_of[i]).collect() }
    }

    /// Samples that training does not see: the streams of a run are its steps, counted up from 0.
    pub fn held_out(level: Level, seed: u64, count: usize) -> Vec<Self> {
        let mut random = Random::new(seed, u64::MAX - 1);
        (0..count).map(|_| Self::draw(level, &mut random)).collect()
    }
}

/// Rows of a question: the mark, the key, the value.
const QUESTION: usize = 3;

/// Sequences with up to `questions` questions each. Every question stands right behind the prefix and sees
/// no other one. Answers alternate between a question's value and the end of the answer.
pub fn batch(samples: &[Sample], level: Level, questions: usize, full: bool) -> Batch {
    let prefix = level.prefix();
    let questions = questions.min(level.segments * level.pairs);
    let rows = prefix + questions * QUESTION;
    let mut ids = Vec::with_capacity(samples.len() * rows);
    let (mut asked, mut answers) = (Vec::new(), Vec::new());
    for (b, sample) in samples.iter().enumerate() {
        ids.extend_from_slice(&sample.prefix);
        for (q, &(key, value)) in sample.pairs.iter().take(questions).enumerate() {
            ids.extend([ASK, key, value]);
            let at = (b * rows + prefix + q * QUESTION) as u32;
            asked.extend([at + 1, at + 2]);
            answers.extend([value, END]);
        }
    }
    let one = (0..prefix as u32).chain((0..questions).flat_map(|_| (0..QUESTION as u32).map(|i| prefix as u32 + i)));
    let positions: Vec<u32> = one.collect();
    Batch {
        positions: positions.iter().copied().cycle().take(ids.len()).collect(),
        sees: Arc::new(sees(samples.first().map_or(&[][..], |s| &s.prefix), questions, full)),
        ids,
        asked,
        answers,
    }
}

/// One mask for all sequences: their anchors stand at the same places.
fn sees(prefix: &[u32], questions: usize, full: bool) -> Sees {
    let n = prefix.len();
    // Every question is an open segment of its own.
    let tags: Vec<u32> = prefix.iter().map(|&id| u32::from(id == AC)).chain([0; QUESTION]).collect();
    let rule = anchored(&tags);
    Sees::new(1, n + questions * QUESTION, |_, row, column| {
        let question = |i: usize| i.checked_sub(n).map(|i| i / QUESTION);
        match (question(row), question(column)) {
            (Some(one), Some(other)) => one == other,
            _ => full || rule(row.min(n), column),
        }
    })
}

/// The share of values and not of ends among a batch's answers that are right.
pub fn accuracy(batch: &Batch, first: &[u32]) -> f32 {
    let values = batch.answers.iter().zip(first).step_by(2);
    let right = values.clone().filter(|(answer, first)| answer == first).count();
    right as f32 / values.count().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVEL: Level = Level { segments: 3, pairs: 2, fillers: 4 };

    #[test]
    fn a_sample_holds_its_pairs_and_ends_its_segments() {
        let sample = &Sample::held_out(LEVEL, 1, 4)[3];
        assert_eq!(sample.prefix.len(), LEVEL.prefix());
        assert_eq!(sample.prefix.iter().filter(|&&id| id == AC).count(), 3);
        assert_eq!(sample.pairs.len(), 6);
        for &(key, value) in &sample.pairs {
            let at = sample.prefix.iter().position(|&id| id == key).unwrap();
            assert_eq!(sample.prefix[at + 1], value);
        }
        assert_ne!(Sample::held_out(LEVEL, 1, 4), Sample::held_out(LEVEL, 2, 4));
    }

    #[test]
    fn questions_see_anchors_or_everything_and_never_each_other() {
        let samples = Sample::held_out(LEVEL, 1, 2);
        let n = LEVEL.prefix();
        let anchors = batch(&samples, LEVEL, 2, false);
        let rows = n + 2 * QUESTION;
        assert_eq!(anchors.ids.len(), 2 * rows);
        assert_eq!(&anchors.positions[n..rows], [n, n + 1, n + 2, n, n + 1, n + 2].map(|p| p as u32));
        let ends: Vec<u32> = (0..n as u32).filter(|&i| samples[0].prefix[i as usize] == AC).collect();
        let want: Vec<u32> = ends.iter().copied().chain([n as u32 + 3, n as u32 + 4]).collect();
        assert_eq!(anchors.sees.columns(0, n + 4), want);
        let full = batch(&samples, LEVEL, 2, true);
        assert_eq!(full.sees.columns(1, n + 3).len(), n + 1);
        assert_eq!(full.sees.columns(0, n - 1).len(), n);
        assert_eq!(anchors.asked[..2], [n as u32 + 1, n as u32 + 2]);
        assert_eq!(anchors.answers[1], END);
        assert_eq!(accuracy(&anchors, &anchors.answers), 1.0);
    }
}
