use skimlm_core::Result;

use super::names::people;
use super::{Family, Task, draws, pieces, plain};
use crate::{Case, Choice, Count, Haystack, Metric, Recipe};

/// Two facts in two places: the first names a village, the second says what that village is known for. A second
/// person with another village stands in the text too, so that guessing the known thing is not enough.
pub(super) struct TwoHop;

const VILLAGES: [&str; 20] = [
    "Tolberg", "Vinstad", "Ormely", "Castrin", "Dunmore", "Felsing", "Glenby", "Hartow", "Isfeld", "Jarrow", "Kelwick",
    "Lammas", "Morvan", "Netley", "Oxwell", "Pendrin", "Quorley", "Rothby", "Selwood", "Tarvin",
];

const WARES: [&str; 20] = [
    "pottery", "candles", "carpets", "violins", "clocks", "sausages", "lace", "kites", "mustard", "boots", "baskets",
    "puppets", "tulips", "swords", "bells", "pickles", "marbles", "saddles", "ribbons", "gloves",
];

impl Task for TwoHop {
    fn name(&self) -> &'static str {
        "twohop"
    }

    fn family(&self) -> Family {
        Family::Several
    }

    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case> {
        recipe.check()?;
        let mut random = draws(self, recipe);
        let people = people(&mut random, recipe.split, 2);
        let villages = random.sample(&recipe.split.half(&VILLAGES), 2);
        let wares = random.sample(&recipe.split.half(&WARES), 2);
        let mut facts = Vec::with_capacity(4);
        for i in 0..2 {
            facts.push(format!("{} was born in the village of {}.", people[i], villages[i]));
            facts.push(format!("The village of {} is famous for its {}.", villages[i], wares[i]));
        }
        let depths = random.depths(facts.len());
        let filled = text.fill(recipe, &mut random, &pieces(&facts, &depths), count)?;
        let question = format!("What is the village where {} was born famous for?", people[0]);
        Ok(Case {
            metric: Metric::Contains(Choice::All),
            evidence: filled.places[..2].to_vec(),
            continuation: Some(format!("{} {}", facts[0], facts[1])),
            ..plain(self, recipe, filled.document, question, vec![wares[0].to_owned()])
        })
    }
}
