use std::ops::Range;

use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Result};

use crate::Metric;

/// Counts the tokens of a text.
pub type Count<'a> = dyn Fn(&str) -> usize + 'a;

/// One question over one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The name of the task or the data set.
    pub task: String,
    /// Stable: equal ids are equal cases.
    pub id: String,
    /// What is read.
    pub document: String,
    /// What is asked; empty where the text is only to be continued.
    pub question: String,
    /// The answers that the metric compares with.
    pub answers: Vec<String>,
    /// How an answer is scored.
    pub metric: Metric,
    /// Byte ranges of the document that hold the evidence; empty: unknown, or all of it.
    pub evidence: Vec<Range<usize>>,
    /// The tokens that were asked for, which make cases a group; 0 where a file does not say.
    pub length: usize,
    /// Where the evidence lies, 0 to 1; none where it is spread or unknown.
    pub depth: Option<f32>,
    /// The longest answer, in tokens.
    pub max_new_tokens: usize,
    /// The text whose loss is measured after the prompt: the ideal answer, or the true continuation.
    pub continuation: Option<String>,
    /// The prompt as a benchmark writes it, where its protocol is bare completion text.
    pub raw: Option<Raw>,
}

/// A prompt without a chat template: `before`, the document, `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    /// The text in front of the document.
    pub before: String,
    /// The text behind it: the question and the opening of the answer.
    pub after: String,
}

/// Which half of every pool (facts, names, words, text) a case draws from, so that nothing a calibration has seen
/// comes back in an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Split {
    /// For choosing heads and layers.
    Calibration,
    /// For every reported number.
    #[default]
    Evaluation,
}

impl Split {
    /// Every second item of a pool.
    pub(crate) fn half<T: Clone>(self, pool: &[T]) -> Vec<T> {
        let first = usize::from(self == Self::Calibration);
        pool.iter().skip(first).step_by(2).cloned().collect()
    }

    /// What names and draws of this half begin with.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Calibration => 'c',
            Self::Evaluation => 'e',
        }
    }
}

/// What a task makes a case from. Equal recipes over equal text make equal cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// The tokens that the document may have; it is filled to just below.
    pub tokens: usize,
    /// Draws the text, the facts and the places.
    pub seed: u64,
    /// Where the evidence lies, 0 to 1.
    pub depth: f32,
    /// The half of the pools.
    pub split: Split,
}

impl Recipe {
    /// Below this a document cannot hold the facts and text around them.
    const FEWEST_TOKENS: usize = 128;

    /// An evaluation recipe.
    pub fn new(tokens: usize, seed: u64, depth: f32) -> Self {
        Self { tokens, seed, depth, split: Split::Evaluation }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.tokens < Self::FEWEST_TOKENS {
            let expected = format!("at least {}", Self::FEWEST_TOKENS);
            return Err(Error::invalid_option("tokens", self.tokens as u64, expected));
        }
        if !(0.0..=1.0).contains(&self.depth) {
            return Err(Error::invalid_option("depth", self.depth.to_string(), "from 0 to 1"));
        }
        Ok(())
    }

    pub(crate) fn id(&self, task: &str, depth: Option<f32>) -> String {
        let Self { tokens, seed, split, .. } = self;
        let depth = depth.map(|depth| format!("-d{}", (depth * 1000.0).round() / 10.0)).unwrap_or_default();
        format!("{task}-{tokens}{depth}-{}{seed}", split.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_a_pool_are_disjoint_and_whole() {
        let pool = [0, 1, 2, 3, 4];
        assert_eq!(Split::Evaluation.half(&pool), [0, 2, 4]);
        assert_eq!(Split::Calibration.half(&pool), [1, 3]);
    }

    #[test]
    fn ids_name_task_length_depth_and_seed() {
        let recipe = Recipe::new(1024, 7, 0.125);
        assert_eq!(recipe.id("needle", Some(recipe.depth)), "needle-1024-d12.5-e7");
        assert_eq!(Recipe { split: Split::Calibration, ..recipe }.id("common", None), "common-1024-c7");
    }

    #[test]
    fn impossible_recipes_are_refused() {
        for recipe in [Recipe::new(64, 0, 0.0), Recipe::new(512, 0, 1.01), Recipe::new(512, 0, f32::NAN)] {
            assert_eq!(recipe.check().unwrap_err().code.as_str(), "ERR_INVALID_ARG");
        }
    }
}
