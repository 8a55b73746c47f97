use skimlm_core::{Code, Error, Result};

use super::Tokens;
use crate::Case;

/// The case with its document cut in the middle, so that prompt and document have at most `most` tokens, half from
/// each end, as the papers cut what is too long. Unchanged where it fits.
///
/// What is cut is the document: the papers cut the whole prompt, whose ends are its instructions, to the same effect.
/// The evidence of a cut case is unknown.
pub fn cut_middle(case: Case, most: usize, tokens: &dyn Tokens) -> Result<Case> {
    let (before, after) = match &case.raw {
        Some(raw) => (raw.before.as_str(), raw.after.as_str()),
        None => ("", case.question.as_str()),
    };
    let (before, after) = (tokens.encode(before)?.len(), tokens.encode(after)?.len());
    let ids = tokens.encode(&case.document)?;
    if before + ids.len() + after <= most {
        return Ok(case);
    }
    let half = most / 2;
    let (Some(head), Some(tail)) = (half.checked_sub(before), half.checked_sub(after)) else {
        let what = format!("{most} tokens do not hold the prompt around {}. Allow more.", case.id);
        return Err(Error::new(Code::InvalidArg, what).with("tokens", most));
    };
    let document = tokens.decode(&ids[..head])? + &tokens.decode(&ids[ids.len() - tail..])?;
    Ok(Case { document, evidence: Vec::new(), ..case })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::needle::tests::Characters;
    use crate::{Metric, Raw};

    fn case(document: &str, raw: Option<Raw>) -> Case {
        Case {
            task: "t".into(),
            id: "t-1".into(),
            document: document.into(),
            question: "?".into(),
            answers: Vec::new(),
            metric: Metric::Unscored,
            evidence: std::iter::once(0..1).collect(),
            length: 0,
            depth: None,
            max_new_tokens: 1,
            continuation: None,
            raw,
        }
    }

    #[test]
    fn half_stays_from_each_end() {
        let short = case("abcdefghi", None);
        assert_eq!(cut_middle(short.clone(), 10, &Characters).unwrap(), short);
        let cut = cut_middle(case("abcdefghij", None), 10, &Characters).unwrap();
        assert_eq!((cut.document.as_str(), cut.evidence.len()), ("abcdeghij", 0));
        let raw = Raw { before: "12".into(), after: "345".into() };
        assert_eq!(cut_middle(case("abcdefghij", Some(raw)), 10, &Characters).unwrap().document, "abcij");
    }

    #[test]
    fn instructions_must_fit() {
        let raw = Raw { before: "123456".into(), after: String::new() };
        assert!(cut_middle(case("abcdefghij", Some(raw)), 10, &Characters).is_err());
    }
}
