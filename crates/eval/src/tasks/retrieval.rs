use skimlm_core::Result;

use super::names::people;
use super::{Family, Task, draws, listed, pieces, plain};
use crate::random::Random;
use crate::{Case, Choice, Count, Haystack, Metric, Recipe, Split};

/// RULER's retrieval grid: `keys` similar facts are hidden, each key has `values` values, and `queries` keys are
/// asked. The score is the share of the values that the answer holds.
pub(super) struct Retrieval {
    name: &'static str,
    keys: usize,
    values: usize,
    queries: usize,
    /// The paper's words and numbers rather than people and things.
    ruler: bool,
}

const fn retrieval(name: &'static str, keys: usize, values: usize, queries: usize, ruler: bool) -> Retrieval {
    Retrieval { name, keys, values, queries, ruler }
}

pub(super) const MULTIKEY: Retrieval = retrieval("multikey", 4, 1, 1, false);
pub(super) const MULTIVALUE: Retrieval = retrieval("multivalue", 1, 3, 1, false);
pub(super) const MULTIQUERY: Retrieval = retrieval("multiquery", 3, 1, 3, false);
pub(super) const RULER_SINGLE: Retrieval = retrieval("ruler-single", 1, 1, 1, true);
pub(super) const RULER_MULTIKEY: Retrieval = retrieval("ruler-multikey", 4, 1, 1, true);
pub(super) const RULER_MULTIVALUE: Retrieval = retrieval("ruler-multivalue", 1, 4, 1, true);
pub(super) const RULER_MULTIQUERY: Retrieval = retrieval("ruler-multiquery", 4, 1, 4, true);

/// A relation between a key and its values; `one` serves a single value, `many` each of several.
#[derive(Clone, Copy)]
struct Relation {
    one: &'static str,
    many: &'static str,
    ask: &'static str,
    ask_all: &'static str,
    values: Values,
}

#[derive(Clone, Copy)]
enum Values {
    Digits(u32),
    Words(&'static [&'static str]),
}

/// Alternately for evaluation and calibration.
const RELATIONS: &[Relation] = &[
    Relation {
        one: "The favourite fruit of {key} is the {value}.",
        many: "One of the favourite fruits of {key} is the {value}.",
        ask: "What is the favourite fruit of {key}?",
        ask_all: "What are the favourite fruits of {key}?",
        values: Values::Words(&[
            "mango", "apricot", "plum", "cherry", "melon", "lemon", "papaya", "fig", "quince", "grape",
        ]),
    },
    Relation {
        one: "The lucky stone of {key} is the {value}.",
        many: "One of the lucky stones of {key} is the {value}.",
        ask: "What is the lucky stone of {key}?",
        ask_all: "What are the lucky stones of {key}?",
        values: Values::Words(&[
            "opal", "jade", "ruby", "topaz", "agate", "emerald", "garnet", "pearl", "onyx", "amber",
        ]),
    },
    Relation {
        one: "The locker number of {key} is {value}.",
        many: "One of the locker numbers of {key} is {value}.",
        ask: "What is the locker number of {key}?",
        ask_all: "What are the locker numbers of {key}?",
        values: Values::Digits(4),
    },
    Relation {
        one: "The door code of {key} is {value}.",
        many: "One of the door codes of {key} is {value}.",
        ask: "What is the door code of {key}?",
        ask_all: "What are the door codes of {key}?",
        values: Values::Digits(4),
    },
    Relation {
        one: "The instrument of {key} is the {value}.",
        many: "One of the instruments of {key} is the {value}.",
        ask: "What is the instrument of {key}?",
        ask_all: "What are the instruments of {key}?",
        values: Values::Words(&[
            "harp", "cello", "trumpet", "drum", "organ", "banjo", "oboe", "guitar", "tuba", "lute",
        ]),
    },
    Relation {
        one: "The pet of {key} is a {value}.",
        many: "One of the pets of {key} is a {value}.",
        ask: "What is the pet of {key}?",
        ask_all: "What are the pets of {key}?",
        values: Values::Words(&[
            "rabbit", "lizard", "falcon", "badger", "donkey", "canary", "ferret", "turtle", "peacock", "llama",
        ]),
    },
];

/// The paper's needle.
const MAGIC: Relation = Relation {
    one: "One of the special magic numbers for {key} is: {value}.",
    many: "One of the special magic numbers for {key} is: {value}.",
    ask: "What is the special magic number for {key} mentioned in the text?",
    ask_all: "What are all the special magic numbers for {key} mentioned in the text?",
    values: Values::Digits(7),
};

impl Values {
    fn draw(self, random: &mut Random, n: usize) -> Vec<String> {
        match self {
            Self::Words(words) => random.sample(words, n).into_iter().map(str::to_owned).collect(),
            Self::Digits(digits) => {
                let mut drawn: Vec<String> = Vec::with_capacity(n);
                while drawn.len() < n {
                    let value = random.digits(digits);
                    if !drawn.contains(&value) {
                        drawn.push(value);
                    }
                }
                drawn
            }
        }
    }
}

impl Task for Retrieval {
    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        if self.values * self.queries == 1 { Family::Single } else { Family::Several }
    }

    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case> {
        recipe.check()?;
        let mut random = draws(self, recipe);
        let relation = self.relation(&mut random, recipe.split);
        let keys = self.keys(&mut random, recipe.split, text);
        let values = relation.values.draw(&mut random, keys.len() * self.values);
        let form = if self.values == 1 { relation.one } else { relation.many };
        // The asked keys come first: theirs are the first facts.
        let facts: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(i, value)| form.replace("{key}", &keys[i / self.values]).replace("{value}", value))
            .collect();
        let mut depths = random.depths(facts.len());
        if self.placed() {
            depths[0] = recipe.depth;
        }
        let asked = self.queries * self.values;
        let ask = if asked == 1 { relation.ask } else { relation.ask_all };
        let question = ask.replace("{key}", &listed(&keys[..self.queries]));
        let filled = text.fill(recipe, &mut random, &pieces(&facts, &depths), count)?;
        Ok(Case {
            metric: Metric::Contains(Choice::Share),
            evidence: filled.places[..asked].to_vec(),
            continuation: Some(facts[..asked].join(" ")),
            max_new_tokens: if self.ruler { 128 } else { 32 * asked.min(2) },
            ..plain(self, recipe, filled.document, question, values[..asked].to_vec())
        })
    }
}

impl Retrieval {
    fn relation(&self, random: &mut Random, split: Split) -> Relation {
        let relations = split.half(RELATIONS);
        if self.ruler { MAGIC } else { relations[random.below(relations.len())] }
    }

    fn keys(&self, random: &mut Random, split: Split, text: &Haystack) -> Vec<String> {
        if !self.ruler {
            return people(random, split, self.keys);
        }
        // The paper joins an adjective and a noun; two words of the text are as unlikely a pair.
        let words = random.sample(&split.half(&text.words()), 2 * self.keys);
        words.chunks_exact(2).map(|pair| format!("{}-{}", pair[0], pair[1])).collect()
    }
}
