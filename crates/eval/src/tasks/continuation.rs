use skimlm_core::Result;

use super::{Family, Task, draws, plain};
use crate::{Case, Count, Haystack, Recipe};

/// The tokens whose loss is measured.
const CONTINUED: usize = 96;

/// No question: how well the true next sentences are predicted after the text.
pub(super) struct Continuation;

impl Task for Continuation {
    fn name(&self) -> &'static str {
        "continuation"
    }

    fn family(&self) -> Family {
        Family::Continuation
    }

    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case> {
        recipe.check()?;
        let filled = text.fill(recipe, &mut draws(self, recipe), &[], count)?;
        let next = text.following(&filled, CONTINUED, count);
        Ok(Case {
            continuation: Some(next),
            max_new_tokens: 0,
            ..plain(self, recipe, filled.document, String::new(), Vec::new())
        })
    }
}
