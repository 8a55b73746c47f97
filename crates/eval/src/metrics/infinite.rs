//! InfiniteBench's rules (Zhang et al. 2024, arXiv 2402.13718), as the PromptDistill evaluation applies them.

/// The runs of ASCII digits.
pub(super) fn digits(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty())
}

pub(super) fn first_integer(answer: &str) -> &str {
    digits(answer).next().unwrap_or_default()
}

/// A reference with a fraction is compared as it is, one without with the number's integer part.
pub(super) fn first_number(answer: &str, reference: &str) -> bool {
    let Some(start) = answer.find(|c: char| c.is_ascii_digit()) else { return false };
    let rest = &answer[start..];
    let whole = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let fraction = rest[whole..]
        .strip_prefix('.')
        .map_or(0, |rest| rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let end = if fraction > 0 { whole + 1 + fraction } else { whole };
    let (Ok(said), Ok(wanted)) = (rest[..end].parse::<f64>(), reference.trim().parse::<f64>()) else { return false };
    if reference.contains('.') { said == wanted } else { said.trunc() == wanted }
}

pub(super) fn last_integer(answer: &str, reference: &str) -> bool {
    let bare = spaced(answer, &['\n', '.', '`', '\'', '"', ':']);
    let said = bare.split_whitespace().next_back().and_then(|word| word.parse::<i64>().ok());
    said.is_some() && said == reference.trim().parse().ok()
}

const MARKS: [char; 10] = ['\n', ':', '"', '\'', '.', ',', '?', '!', '{', '}'];

pub(super) fn word(answer: &str, reference: &str) -> bool {
    spaced(answer, &MARKS).split_whitespace().any(|word| word == reference)
}

pub(super) fn speaker(answer: &str, reference: &str) -> bool {
    spaced(answer, &MARKS).split_whitespace().any(|word| word.to_uppercase() == reference)
}

pub(super) fn letter(answer: &str, answers: &[String]) -> bool {
    let answer = answer.trim();
    let right = |text: &str| answers.iter().any(|reference| reference == text);
    match answer.chars().next() {
        None => return false,
        Some(first @ 'A'..='D') => return right(first.encode_utf8(&mut [0; 4])),
        Some(_) if right(answer) => return true,
        Some(_) => {}
    }
    let bare = single_spaces(&spaced(answer, &['\n', '"', '\'', '.', ',', '?', '!', '{', '}']));
    if let Some(rest) = behind(&bare, &["answer is:", "answer:", "answer is", "option is"]) {
        return answers.iter().any(|reference| rest.starts_with(reference.as_str()));
    }
    // A word such as AB counts as a choice, of nothing: the scorer looks for the word in "ABCD".
    bare.split_whitespace().find(|word| "ABCD".contains(word)).is_some_and(right)
}

pub(super) fn code_letter(answer: &str, answers: &[String]) -> bool {
    let [name, letter, ..] = answers else { return false };
    if answer.strip_prefix(letter.as_str()).is_some_and(|rest| rest.starts_with(['.', ':'])) {
        return true;
    }
    let bare = spaced(answer.trim(), &['\n', '`', '\'', '"', '-', '*']).replace("Option", " ").replace("option", " ");
    behind(&single_spaces(&bare), &["answer is:", "is:", "answer:"])
        .is_some_and(|rest| rest.starts_with(letter.as_str()) || rest.starts_with(name.as_str()))
}

/// What follows the first phrase that occurs, one character after it; empty at the end of the text.
fn behind<'a>(text: &'a str, phrases: &[&str]) -> Option<&'a str> {
    let rest = phrases.iter().find_map(|phrase| Some(&text[text.find(phrase)? + phrase.len()..]))?;
    let mut chars = rest.chars();
    chars.next();
    Some(chars.as_str())
}

fn spaced(text: &str, marks: &[char]) -> String {
    text.replace(marks, " ")
}

/// Runs of spaces as one; other white space as it is.
fn single_spaces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != ' ' || !out.ends_with(' ') {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str, letter: &str) -> Vec<String> {
        vec![text.into(), letter.into()]
    }

    #[test]
    fn numbers() {
        assert_eq!(first_integer("It is 0715, not 9."), "0715");
        assert_eq!(first_integer("none"), "");
        assert!(first_number("about 7.9 of 3", "7") && first_number("7.5", "7.5") && !first_number("7", "7.5"));
        assert!(first_number("7. Then", "7") && !first_number("-", "7"));
        assert!(last_integer("The value is: `-4`.", "-4") && !last_integer("4 it is", "4") && !last_integer("", ""));
    }

    #[test]
    fn names_and_words() {
        assert!(word("{\"key\": \"ab-1\"}.", "ab-1") && !word("ab-12", "ab-1"));
        assert!(speaker("It is Anna.", "ANNA") && !speaker("Annabel", "ANNA"));
    }

    #[test]
    fn letters_are_chosen_in_order_of_the_rules() {
        let right = both("Two dogs", "B");
        assert!(letter(" B", &right) && letter("B. Two dogs", &right) && !letter("C or B", &right));
        // Any word with the right capital passes as the letter.
        assert!(!letter("", &right) && letter("Both of C", &right));
        assert!(letter("So the answer is: B", &right) && letter("the answer is  Two dogs", &right));
        assert!(!letter("the answer is: C, not B", &right) && !letter("the answer is", &right));
        assert!(letter("it must be B", &right) && !letter("it must be AB then B", &right));
        assert!(letter("two dogs", &both("two dogs", "B")));
    }

    #[test]
    fn code_letters_need_a_mark_or_phrase() {
        let right = both("parse_line", "C");
        assert!(code_letter("C.", &right) && code_letter("C: it", &right) && !code_letter("C it", &right));
        assert!(code_letter("The answer is: C", &right) && code_letter("the error is: `parse_line`", &right));
        assert!(code_letter("Answer is: Option C", &right) && !code_letter("answer: B", &right));
        assert!(!code_letter("answer is:", &right) && !code_letter("C.", &[]));
    }
}
