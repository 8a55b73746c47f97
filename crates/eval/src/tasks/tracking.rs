use skimlm_core::Result;

use super::{Family, Task, draws, pieces, plain};
use crate::{Case, Choice, Count, Haystack, Metric, Recipe};

/// RULER's variable tracking: one variable is set to a number and a chain of others, in document order, each to the
/// one before. All that have the number are asked; the score is the share that the answer holds.
pub(super) struct Tracking {
    name: &'static str,
    hops: usize,
}

pub(super) const TRACKING: Tracking = Tracking { name: "tracking", hops: 2 };
pub(super) const RULER_TRACKING: Tracking = Tracking { name: "ruler-tracking", hops: 4 };

impl Task for Tracking {
    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        Family::Several
    }

    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case> {
        recipe.check()?;
        let mut random = draws(self, recipe);
        let number = random.digits(5);
        let mut names: Vec<String> = Vec::with_capacity(self.hops + 1);
        while names.len() <= self.hops {
            let name = random.letters(5, b'A');
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let statements: Vec<String> = (0..names.len())
            .map(|i| match i.checked_sub(1) {
                None => format!("VAR {} = {number}.", names[0]),
                Some(before) => format!("VAR {} = VAR {}.", names[i], names[before]),
            })
            .collect();
        let mut depths = random.depths(names.len());
        depths.sort_by(f32::total_cmp);
        let filled = text.fill(recipe, &mut random, &pieces(&statements, &depths), count)?;
        let question = format!(
            "A variable that is set to another one has the same value. Which variables have the value {number} in the \
             text above? Name all {} of them.",
            names.len()
        );
        Ok(Case {
            metric: Metric::Contains(Choice::Share),
            evidence: filled.places,
            continuation: Some(format!("The variables with the value {number} are {}.", names.join(", "))),
            max_new_tokens: 8 * names.len() + 16,
            ..plain(self, recipe, filled.document, question, names)
        })
    }
}
