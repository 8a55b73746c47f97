//! Text and a counter for the tests.

use crate::Haystack;

/// Words as tokens.
pub(crate) fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// About 20 000 words of plain sentences, with some 2700 distinct words.
pub(crate) fn haystack() -> Haystack {
    const WHO: [&str; 5] = ["The miller", "A sailor", "Old Henry", "My aunt", "A boy"];
    const DID: [&str; 7] = ["saw", "found", "sold", "counted", "drew", "fixed", "lost"];
    const SYLLABLES: [&str; 14] = ["ba", "ko", "li", "mu", "ne", "po", "ra", "si", "tu", "ve", "da", "go", "hi", "ju"];
    let thing = |n: usize| [n, n / 14, n / 196].map(|digit| SYLLABLES[digit % 14]).concat();
    let mut text = String::new();
    for i in 0..1800 {
        let (who, did) = (WHO[i % 5], DID[i % 7]);
        let (one, other) = (thing(2 * i), thing(2 * i + 1));
        let end = if i % 6 == 5 { "\n\n" } else { " " };
        text.push_str(&format!("{who} {did} the {one} and a {other} that day.{end}"));
    }
    match Haystack::new(&text) {
        Ok(haystack) => haystack,
        Err(error) => panic!("{error}"),
    }
}
