use std::ops::Range;

/// Abbreviations that end in a full stop and start nothing new.
const ABBREVIATIONS: [&str; 13] =
    ["Mr", "Mrs", "Ms", "Dr", "St", "Prof", "Capt", "Messrs", "Sr", "Jr", "vs", "etc", "No"];

/// The sentences of a text as byte ranges without the white space between them.
///
/// A sentence ends with a full stop, question or exclamation mark (and what closes quotes and brackets) before white
/// space, or with an empty line; not after an abbreviation or initial, nor where a small letter follows. A single line
/// break ends nothing: books are wrapped by hand, where the Unicode rules see a paragraph at each break.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut push = |from: usize, to: usize| {
        let piece = &text[from..to];
        let body = piece.trim();
        if !body.is_empty() {
            let begin = from + (piece.len() - piece.trim_start().len());
            found.push(begin..begin + body.len());
        }
        to
    };
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\n' && text[at + 1..].trim_start_matches([' ', '\t', '\r']).starts_with('\n') {
            start = push(start, at);
        } else if matches!(c, '。' | '！' | '？') {
            start = push(start, at + c.len_utf8());
        } else if matches!(c, '.' | '!' | '?' | '…') {
            let mut end = at + c.len_utf8();
            while let Some(&(next, mark)) = chars.peek() {
                if !matches!(mark, '.' | '!' | '?' | '"' | '\'' | ')' | ']' | '”' | '’' | '»') {
                    break;
                }
                end = next + mark.len_utf8();
                chars.next();
            }
            let rest = &text[end..];
            let spaced = rest.starts_with(char::is_whitespace) || rest.is_empty();
            let goes_on = rest.trim_start().starts_with(char::is_lowercase) || (c == '.' && abbreviated(&text[..at]));
            if spaced && !goes_on {
                start = push(start, end);
            }
        }
    }
    push(start, text.len());
    found
}

fn abbreviated(before: &str) -> bool {
    let word = before.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    // An initial is a capital by itself; the pronoun I can end a sentence.
    let initial = word.len() == 1 && word.starts_with(|c: char| c.is_uppercase() && c != 'I');
    initial || ABBREVIATIONS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn marks_quotes_and_empty_lines_end_sentences() {
        let text = "  One. Two!  \"Three?\" Four\nis wrapped.\n\nA HEADING\n\nFive 3.5 ends";
        assert_eq!(split(text), ["One.", "Two!", "\"Three?\"", "Four\nis wrapped.", "A HEADING", "Five 3.5 ends"]);
        assert_eq!(split("第一。第二！"), ["第一。", "第二！"]);
    }

    #[test]
    fn abbreviations_initials_and_small_letters_do_not() {
        let text = "Mr. Smith met J. Doe. \"Where?\" said he. So did I. End...";
        assert_eq!(split(text), ["Mr. Smith met J. Doe.", "\"Where?\" said he.", "So did I.", "End..."]);
    }

    #[test]
    fn nothing_holds_no_sentence() {
        assert!(split("").is_empty() && split(" \n\n \t").is_empty());
    }
}
