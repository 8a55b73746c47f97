//! The tasks. Each is a file (or a line of a shared one) and an entry in [`tasks`].
//!
//! The definitions follow RULER (Hsieh et al. 2024, arXiv 2404.06654). The plain names put them into everyday
//! sentences with fewer items, so that a model of 135 million parameters has a chance; the `ruler-` names keep the
//! paper's wording of the hidden facts and its numbers of items.

mod common;
mod continuation;
mod facts;
mod frequent;
mod names;
mod needle;
mod repeat;
mod retrieval;
mod tracking;
mod twohop;

use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Result};

use crate::haystack::Piece;
use crate::random::Random;
use crate::{Case, Count, Haystack, Metric, Recipe};

/// What a task asks of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Family {
    /// One fact in one place.
    Single,
    /// Facts in several places, all needed.
    Several,
    /// Word counts: all of the text is needed.
    Words,
    /// No question; the loss of a continuation.
    Continuation,
}

impl Family {
    /// As tables say it, behind `all`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single facts",
            Self::Several => "several facts",
            Self::Words => "word counts",
            Self::Continuation => "continuations",
        }
    }
}

/// Makes cases of one kind.
pub trait Task: Sync {
    /// The stable name.
    fn name(&self) -> &'static str;
    /// What it asks of a selection.
    fn family(&self) -> Family;
    /// Whether the recipe's depth places the evidence. Where not, recipes that differ in depth make the same case,
    /// with the same id.
    fn placed(&self) -> bool {
        self.family() == Family::Single
    }
    /// One case. `ERR_INVALID_ARG` for a recipe that cannot be made, or text too short for it.
    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case>;
}

/// All tasks.
pub fn tasks() -> &'static [&'static dyn Task] {
    &[
        &needle::NEEDLE,
        &needle::PARAPHRASE,
        &retrieval::MULTIKEY,
        &retrieval::MULTIVALUE,
        &retrieval::MULTIQUERY,
        &twohop::TwoHop,
        &tracking::TRACKING,
        &common::COMMON,
        &frequent::FREQUENT,
        &continuation::Continuation,
        &repeat::Repeat,
        &retrieval::RULER_SINGLE,
        &retrieval::RULER_MULTIKEY,
        &retrieval::RULER_MULTIVALUE,
        &retrieval::RULER_MULTIQUERY,
        &tracking::RULER_TRACKING,
        &common::RULER_COMMON,
        &frequent::RULER_FREQUENT,
    ]
}

/// The task of that name. `ERR_INVALID_ARG` for another.
pub fn task(name: &str) -> Result<&'static dyn Task> {
    tasks().iter().copied().find(|task| task.name() == name).ok_or_else(|| {
        let names: Vec<_> = tasks().iter().map(|task| task.name()).collect();
        Error::invalid_option("plan.tasks", name, format!("one of {}", names.join(", ")))
    })
}

/// The stream of draws of one task for one recipe. Length and depth are not in it: where only they differ, the same
/// fact is asked.
fn draws(task: &dyn Task, recipe: &Recipe) -> Random {
    Random::new(&format!("{}:{}", recipe.split.letter(), task.name()), recipe.seed)
}

/// A case without evidence; tasks add theirs.
fn plain(task: &dyn Task, recipe: &Recipe, document: String, question: String, answers: Vec<String>) -> Case {
    let depth = task.placed().then_some(recipe.depth);
    Case {
        task: task.name().to_owned(),
        id: recipe.id(task.name(), depth),
        document,
        question,
        metric: Metric::Unscored,
        continuation: None,
        answers,
        evidence: Vec::new(),
        length: recipe.tokens,
        depth,
        max_new_tokens: 32,
        raw: None,
    }
}

/// Pieces at these depths, text by text.
fn pieces(texts: &[String], depths: &[f32]) -> Vec<Piece> {
    texts.iter().zip(depths).map(|(text, &depth)| Piece { text: text.clone(), depth }).collect()
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;
    use crate::Split;
    use crate::testing::{haystack, words};

    fn make(task: &dyn Task, recipe: &Recipe) -> Case {
        task.make(&haystack(), recipe, &words).unwrap_or_else(|error| panic!("{}: {error}", task.name()))
    }

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<_> = tasks().iter().map(|task| task.name()).collect();
        assert_eq!(names.len(), tasks().len());
        for name in names {
            assert_eq!(task(name).unwrap().name(), name);
        }
        assert!(task("haystack").err().unwrap().message.contains("one of needle"));
    }

    #[test]
    fn every_task_makes_sound_cases() {
        for task in tasks() {
            for (tokens, depth, seed) in [(256, 0.0, 1), (1500, 0.5, 2), (6000, 1.0, 3)] {
                let recipe = Recipe::new(tokens, seed, depth);
                let case = make(*task, &recipe);
                let about = format!("{} at {tokens}", case.id);
                let size = words(&case.document);
                assert!(size <= tokens && size * 10 >= tokens * 9, "{about}: {size} tokens");
                assert_eq!(case.depth.is_some(), task.placed(), "{about}");
                for place in &case.evidence {
                    let text = &case.document[place.clone()];
                    assert!(!text.is_empty() && text == text.trim(), "{about}: {text:?}");
                }
                if case.metric == Metric::Unscored {
                    assert!(case.answers.is_empty() && case.continuation.is_some(), "{about}");
                } else {
                    let perfect = case.continuation.clone().unwrap_or_else(|| case.answers.join(" "));
                    assert_eq!(case.metric.score(&perfect, &case.answers), Some(1.0), "{about}: {perfect}");
                    assert_eq!(case.metric.score("nothing of it", &case.answers), Some(0.0), "{about}");
                    assert!(!case.question.is_empty(), "{about}");
                }
                assert_eq!(case, make(*task, &recipe), "{about}");
            }
        }
    }

    #[test]
    fn a_seed_names_a_case_for_good() {
        let made = |name: &str| {
            let case = make(task(name).unwrap(), &Recipe::new(500, 1, 0.5));
            format!("{} {:?} {:?}", case.question, case.answers, case.evidence)
        };
        assert_eq!(made("needle"), "What is the combination of the safe in the Crimson Room? [\"7316\"] [1163..1219]");
        assert_eq!(
            made("multiquery"),
            "What are the locker numbers of Bella Glover, Klara Carver and Petra Forster? [\"5033\", \"4919\", \"4473\"] [142..184, 334..376, 1636..1679]"
        );
        assert_eq!(
            made("ruler-tracking"),
            "A variable that is set to another one has the same value. Which variables have the value 22836 in the text above? Name all 5 of them. [\"RGKYB\", \"OYAIC\", \"XYVNG\", \"ZRUDG\", \"KKUGQ\"] [101..119, 800..822, 1257..1279, 1814..1836, 2080..2102]"
        );
    }

    #[test]
    fn questions_do_not_hold_the_answers() {
        for task in tasks().iter().filter(|task| task.family() <= Family::Several) {
            for seed in 0..30 {
                let case = make(*task, &Recipe::new(600, seed, 0.5));
                assert_eq!(
                    case.metric.score(&case.question, &case.answers),
                    Some(0.0),
                    "{}: {}",
                    case.id,
                    case.question
                );
                let evidence: String = case.evidence.iter().map(|place| &case.document[place.clone()]).collect();
                assert_eq!(case.metric.score(&evidence, &case.answers), Some(1.0), "{}: {evidence}", case.id);
            }
        }
    }

    #[test]
    fn depth_and_length_leave_the_fact_and_the_seed_changes_it() {
        for name in ["needle", "multikey", "ruler-single"] {
            let task = task(name).unwrap();
            let case = make(task, &Recipe::new(600, 4, 0.2));
            let other = make(task, &Recipe::new(1200, 4, 0.8));
            assert_eq!((&case.question, &case.answers), (&other.question, &other.answers));
            assert!(case.evidence[0].end * 2 < case.document.len());
            assert!(other.evidence[0].start * 2 > other.document.len());
            let questions: HashSet<_> = (0..20).map(|seed| make(task, &Recipe::new(600, seed, 0.5)).question).collect();
            assert!(questions.len() > 8, "{name}: {} questions of 20", questions.len());
        }
    }

    #[test]
    fn calibration_and_evaluation_share_no_question() {
        for task in tasks().iter().filter(|task| task.family() <= Family::Several) {
            let asked = |split| -> HashSet<String> {
                let recipe = |seed| Recipe { split, ..Recipe::new(600, seed, 0.5) };
                (0..60).map(|seed| make(*task, &recipe(seed)).question).collect()
            };
            assert!(asked(Split::Calibration).is_disjoint(&asked(Split::Evaluation)), "{}", task.name());
        }
    }

    #[test]
    fn paraphrased_questions_share_only_names() {
        let plain = |text: &str| -> HashSet<String> {
            const SMALL: [&str; 14] =
                ["the", "of", "is", "in", "to", "a", "for", "did", "does", "was", "at", "on", "from", "his"];
            let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.starts_with(char::is_lowercase));
            words.filter(|word| !SMALL.contains(word)).map(str::to_owned).collect()
        };
        for facts::Fact(fact, question, _) in facts::PARAPHRASED {
            let shared: Vec<_> = plain(fact).intersection(&plain(question)).cloned().collect();
            assert!(shared.is_empty(), "{shared:?}: {fact}");
        }
    }

    #[test]
    fn lists_read_as_english() {
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(listed(&items), "a, b and c");
        assert_eq!(listed(&items[..2]), "a and b");
        assert_eq!(listed(&items[..1]), "a");
    }
}
