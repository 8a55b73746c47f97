use skimlm_core::{Code, Error, Result};

use super::{Family, Task, draws, plain};
use crate::{Case, Count, Haystack, Metric, Recipe, sentences};

/// The tokens of the passage that is to be said again.
const REPEATED: usize = 48;

/// A passage of the document is begun again, to be continued word for word: the loss is low only for a reader who has
/// kept it. The evidence is the passage with its opening sentence.
pub(super) struct Repeat;

impl Task for Repeat {
    fn name(&self) -> &'static str {
        "repeat"
    }

    fn family(&self) -> Family {
        Family::Continuation
    }

    fn placed(&self) -> bool {
        true
    }

    fn make(&self, text: &Haystack, recipe: &Recipe, count: &Count) -> Result<Case> {
        recipe.check()?;
        let document = text.fill(recipe, &mut draws(self, recipe), &[], count)?.document;
        let spans = sentences(&document);
        if spans.len() < 3 {
            let message =
                format!("{} tokens hold {} sentences; 3 are needed. Ask for more.", recipe.tokens, spans.len());
            return Err(Error::new(Code::InvalidArg, message).with("tokens", recipe.tokens));
        }
        let rest = |first: usize, last: usize| &document[spans[first].start..spans[last].end];
        // The passage ends where it is long enough, and begins early enough to be.
        let latest = (1..spans.len()).rev().find(|&i| count(rest(i, spans.len() - 1)) >= REPEATED).unwrap_or(1);
        let goal = f64::from(recipe.depth) * document.len() as f64;
        let opening = spans.iter().rposition(|span| span.start as f64 <= goal).unwrap_or(0).min(latest - 1);
        let last =
            (opening + 1..spans.len()).find(|&i| count(rest(opening + 1, i)) >= REPEATED).unwrap_or(spans.len() - 1);
        let question =
            format!("Continue this passage of the text above word for word: \"{}\"", &document[spans[opening].clone()]);
        let passage = rest(opening + 1, last).to_owned();
        let evidence = spans[opening].start..spans[last].end;
        Ok(Case {
            metric: Metric::F1,
            evidence: vec![evidence],
            continuation: Some(passage.clone()),
            max_new_tokens: 2 * REPEATED,
            ..plain(self, recipe, document, question, vec![passage])
        })
    }
}
