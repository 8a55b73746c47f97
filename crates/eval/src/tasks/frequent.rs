use std::f64::consts::PI;

use skimlm_core::{Code, Error, Result};

use super::{Family, Task, draws, plain};
use crate::fit::fit;
use crate::{Case, Choice, Count, Haystack, Metric, Recipe};

/// RULER's frequent words: words whose counts fall with the square of their rank (a zeta distribution with exponent
/// 2). The most frequent one is dots, to be ignored; the next three are asked. The score is the share that the answer
/// holds.
pub(super) struct Frequent {
    name: &'static str,
    /// Made-up words of six letters rather than the haystack's own.
    coded: bool,
}

pub(super) const FREQUENT: Frequent = Frequent { name: "frequent", coded: false };
pub(super) const RULER_FREQUENT: Frequent = Frequent { name: "ruler-frequent", coded: true };

const ASKED: usize = 3;

impl Task for Frequent {
    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        Family::Words
    }

    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case> {
        recipe.check()?;
        let mut random = draws(self, recipe);
        let own = recipe.split.half(&text.words());
        // The paper's size of the vocabulary; ranks beyond it would stand less than once anyway.
        let size = (recipe.tokens / 50).max(2 * ASKED);
        let mut words: Vec<String> = if self.coded {
            (0..size).map(|_| random.letters(6, b'a')).collect()
        } else {
            random.sample(&own, size).into_iter().map(str::to_owned).collect()
        };
        words.sort_unstable();
        words.dedup();
        random.shuffle(&mut words);
        if words.len() < 2 * ASKED {
            return Err(Error::new(
                Code::InvalidArg,
                format!("The text has only {} words to draw from. Give a longer text.", words.len()),
            )
            .with("words", words.len()));
        }
        words.insert(0, "...".to_owned());
        let counts = |n: usize| {
            let share = move |rank: usize| n as f64 * 6.0 / (PI * PI * (rank * rank) as f64);
            (1..=words.len()).map(move |rank| share(rank) as usize)
        };
        // One order for all sizes: every occurrence gets its place once, by the size at which it first appears.
        let build = |n: usize| {
            let mut all: Vec<&str> =
                counts(n).zip(&words).flat_map(|(times, word)| std::iter::repeat_n(word.as_str(), times)).collect();
            draws(self, recipe).shuffle(&mut all);
            all.join(" ")
        };
        let Some((_, document)) = fit(recipe.tokens, 2 * recipe.tokens, &build, count) else {
            return Err(Error::invalid_option("tokens", recipe.tokens as u64, "enough for a list of words"));
        };
        Ok(Case {
            metric: Metric::Contains(Choice::Share),
            max_new_tokens: if self.coded { 50 } else { 24 },
            ..plain(
                self,
                recipe,
                document,
                "Ignore the dots. What are the three most frequent words in the text above?".into(),
                words[1..=ASKED].to_vec(),
            )
        })
    }
}
