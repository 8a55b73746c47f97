use skimlm_core::Result;

use super::facts::{FACTS, Fact, PARAPHRASED};
use super::{Family, Task, draws, pieces, plain};
use crate::{Case, Choice, Count, Haystack, Metric, Recipe};

/// One everyday fact in real text, and a question for it. The answer must hold its key word or words.
pub(super) struct Needle {
    name: &'static str,
    facts: &'static [Fact],
}

pub(super) const NEEDLE: Needle = Needle { name: "needle", facts: FACTS };
/// The question shares no word with the fact but a name, so that matching words finds little.
pub(super) const PARAPHRASE: Needle = Needle { name: "paraphrase", facts: PARAPHRASED };

impl Task for Needle {
    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        Family::Single
    }

    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case> {
        recipe.check()?;
        let mut random = draws(self, recipe);
        let facts = recipe.split.half(self.facts);
        let Fact(fact, question, key) = facts[random.below(facts.len())];
        let fact = fact.to_owned();
        let filled = text.fill(recipe, &mut random, &pieces(std::slice::from_ref(&fact), &[recipe.depth]), count)?;
        Ok(Case {
            metric: Metric::Contains(Choice::All),
            evidence: filled.places,
            continuation: Some(fact),
            ..plain(self, recipe, filled.document, question.into(), key.iter().map(|&key| key.into()).collect())
        })
    }
}
