//! Prompts that are longer than the model's positions.

use skimlm_core::{Code, Error, Result, Role};

use crate::request::Overflow;
use crate::text::Assembled;

/// Shortens a prompt to leave room for `new_tokens`, at most for half of `limit`, if the caller allows it. Answers
/// how many tokens were left out. Only the document is cut: question, template and pins stay, and the answer gets less
/// room where they are too long. 0 new tokens: the prompt is read and nothing answered.
///
/// `ERR_CONTEXT_OVERFLOW` if the prompt has more tokens than `limit` and may not, or cannot, be cut. The first token of
/// an answer needs no position.
pub(crate) fn fit(prompt: &mut Assembled, overflow: Overflow, new_tokens: usize, limit: usize) -> Result<usize> {
    let n = prompt.rows.len();
    if n <= limit && overflow == Overflow::Error {
        return Ok(0);
    }
    let refuse = |advice: &str| {
        Error::new(
            Code::ContextOverflow,
            format!("The prompt has {n} tokens; the model reads at most {limit}. {advice}"),
        )
        .with("promptTokens", n)
        .with("maxNewTokens", new_tokens)
        .with("limit", limit)
    };
    if overflow == Overflow::Error {
        // What only selects has no option `overflow`.
        let advice = if new_tokens == 0 {
            "Shorten the prompt."
        } else {
            "Shorten the prompt, or set `overflow` to say what may be left out."
        };
        return Err(refuse(advice));
    }
    let document: Vec<usize> = (0..n).filter(|&i| prompt.rows.roles[i] == Role::Document).collect();
    let excess = n.saturating_sub(limit.saturating_sub(new_tokens.min(limit / 2)));
    let cut = excess.min(document.len());
    if n - cut > limit {
        return Err(refuse("What may not be left out (question, template, pins) is too long by itself."));
    }
    let first = if overflow == Overflow::TruncateStart { 0 } else { (document.len() - cut) / 2 };
    let mut keep = vec![true; n];
    document[first..first + cut].iter().for_each(|&i| keep[i] = false);
    let kept: Vec<u32> = (0..n as u32).filter(|&i| keep[i as usize]).collect();
    prompt.rows = prompt.rows.gather(&kept);
    prompt.origins = kept.iter().map(|&i| prompt.origins[i as usize]).collect();
    Ok(cut)
}

#[cfg(test)]
mod tests {
    use skimlm_core::Rows;

    use super::*;
    use crate::text::{Origin, Source};

    fn prompt(roles: &[Role]) -> Assembled {
        let n = roles.len() as u32;
        let origins =
            (0..n).map(|i| Origin { source: Source::Document, message: None, start: i, end: i + 1 }).collect();
        let mut rows = Rows::consecutive((0..n).collect(), 0, Role::Document);
        rows.roles = roles.to_vec();
        Assembled { rows, origins, warnings: Vec::new() }
    }

    const ROLES: [Role; 8] = [
        Role::Template,
        Role::Document,
        Role::Document,
        Role::Pinned,
        Role::Document,
        Role::Document,
        Role::Question,
        Role::Template,
    ];

    #[test]
    fn a_prompt_that_fits_is_left_alone() {
        let mut fits = prompt(&ROLES);
        assert_eq!(fit(&mut fits, Overflow::Error, 100, 9).unwrap(), 0);
        assert_eq!(fit(&mut fits, Overflow::Error, 100, 8).unwrap(), 0, "the first token needs no position");
        assert_eq!(fit(&mut fits, Overflow::TruncateStart, 1, 9).unwrap(), 0);
        assert_eq!(fits, prompt(&ROLES));
    }

    #[test]
    fn a_prompt_that_cannot_be_read_is_refused() {
        let error = fit(&mut prompt(&ROLES), Overflow::Error, 1, 7).unwrap_err();
        assert_eq!(error.code, Code::ContextOverflow);
        assert_eq!((&error.details["promptTokens"], &error.details["limit"]), (&8.into(), &7.into()));
        assert!(error.message.contains("`overflow`"), "{error}");
        let selects = fit(&mut prompt(&ROLES), Overflow::Error, 0, 7).unwrap_err();
        assert!(!selects.message.contains("overflow"), "{selects}");
    }

    #[test]
    fn a_prompt_that_fits_without_a_document_is_not_refused() {
        let questions = [Role::Question; 8];
        let mut asked = prompt(&questions);
        assert_eq!(fit(&mut asked, Overflow::TruncateStart, 100, 8).unwrap(), 0);
        assert_eq!(asked, prompt(&questions));
        assert_eq!(fit(&mut asked, Overflow::TruncateStart, 1, 7).unwrap_err().code, Code::ContextOverflow);
    }

    #[test]
    fn only_the_document_is_cut() {
        let mut start = prompt(&ROLES);
        assert_eq!(fit(&mut start, Overflow::TruncateStart, 1, 7).unwrap(), 2);
        assert_eq!(start.rows.tokens, [0, 3, 4, 5, 6, 7]);
        let mut middle = prompt(&ROLES);
        assert_eq!(fit(&mut middle, Overflow::TruncateMiddle, 1, 7).unwrap(), 2);
        assert_eq!(middle.rows.tokens, [0, 1, 3, 5, 6, 7]);
        assert_eq!(middle.origins.iter().map(|origin| origin.start).collect::<Vec<_>>(), middle.rows.tokens);
        assert_eq!(fit(&mut prompt(&ROLES), Overflow::TruncateStart, 1, 3).unwrap_err().code, Code::ContextOverflow);
        let mut one = prompt(&ROLES);
        assert_eq!(fit(&mut one, Overflow::TruncateMiddle, 1, 8).unwrap(), 1);
        assert_eq!(one.rows.tokens, [0, 1, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn an_answer_gets_the_room_it_asks_for_up_to_half() {
        let cut = |new_tokens, limit| {
            let mut prompt = prompt(&ROLES);
            fit(&mut prompt, Overflow::TruncateStart, new_tokens, limit).map(|_| prompt.rows.tokens)
        };
        assert_eq!(cut(2, 9).unwrap(), [0, 2, 3, 4, 5, 6, 7]);
        assert_eq!(cut(100, 7).unwrap(), [0, 3, 6, 7], "all of the document, and no more");
        assert_eq!(cut(100, 6).unwrap(), [0, 3, 6, 7], "less room where what stays is too long");
        assert_eq!(cut(100, 4).unwrap(), [0, 3, 6, 7]);
        assert_eq!(cut(100, 3).unwrap_err().code, Code::ContextOverflow);
    }
}
