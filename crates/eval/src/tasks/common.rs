use skimlm_core::{Code, Error, Result};

use super::{Family, Task, draws, plain};
use crate::fit::fit;
use crate::{Case, Choice, Count, Haystack, Metric, Recipe};

/// RULER's common words: in a numbered list of words some stand 30 times and the rest 3 times (below 4096 tokens, 6
/// times and once). The score is the share of the common ones that the answer holds.
///
/// The words are the haystack's own; the paper's example in front of the list is left out.
pub(super) struct Common {
    name: &'static str,
    asked: usize,
}

pub(super) const COMMON: Common = Common { name: "common", asked: 3 };
pub(super) const RULER_COMMON: Common = Common { name: "ruler-common", asked: 10 };

impl Task for Common {
    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        Family::Words
    }

    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case> {
        recipe.check()?;
        let mut random = draws(self, recipe);
        let mut words = recipe.split.half(&text.words());
        random.shuffle(&mut words);
        let asked = self.asked.min(words.len());
        let (common, rare) = words.split_at(asked);
        let (often, seldom) = if recipe.tokens < 4096 { (6, 1) } else { (30, 3) };
        // One order for all sizes: the first of it that belong to the `n` words are the list of `n` words.
        let mut order: Vec<(usize, &str)> = common.iter().flat_map(|word| vec![(0, *word); often]).collect();
        order.extend(rare.iter().enumerate().flat_map(|(i, word)| vec![(i + 1, *word); seldom]));
        random.shuffle(&mut order);
        let list = |n: usize| {
            let kept = order.iter().filter(|(rank, _)| *rank < n).enumerate();
            kept.map(|(i, (_, word))| format!("{}. {word}", i + 1)).collect::<Vec<_>>().join(" ")
        };
        let fitted = fit(recipe.tokens, rare.len() + 1, &list, count).filter(|&(n, _)| n > 1 && n <= rare.len());
        let Some((_, document)) = fitted else {
            return Err(Error::new(
                Code::InvalidArg,
                format!(
                    "A list of {} tokens needs more words than the {} of the text, or fewer than {} common ones. \
                     Give a longer text, or ask for more tokens.",
                    recipe.tokens,
                    words.len(),
                    self.asked
                ),
            )
            .with("words", words.len())
            .with("tokens", recipe.tokens));
        };
        let question = format!("What are the {} most common words in the list above?", self.asked);
        let answers = common.iter().map(|&word| word.to_owned()).collect();
        Ok(Case {
            metric: Metric::Contains(Choice::Share),
            max_new_tokens: 12 * self.asked,
            ..plain(self, recipe, document, question, answers)
        })
    }
}
