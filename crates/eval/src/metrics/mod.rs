//! How an answer is scored, 0 to 1.
//!
//! The rules are those of the benchmarks' own scorers, quirks included, so that numbers can be put beside published
//! ones. Where there are several references the best counts, unless the rule says otherwise.

mod f1;
mod infinite;
mod longbench;
mod rouge;

use std::collections::HashSet;

/// How many of the answers a text must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// One of them (RULER's question answering).
    Any,
    /// Every one.
    All,
    /// The score is the share (RULER's other tasks).
    Share,
}

/// A rule that compares an answer with the reference answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// There is nothing to compare with.
    Unscored,
    /// The answer holds the references as text, small and capital letters alike (RULER).
    Contains(Choice),
    /// F1 of the words, as bags, in small letters and without punctuation and articles (LongBench, InfiniteBench).
    F1,
    /// F1 of the characters without punctuation and white space (InfiniteBench's Chinese questions).
    F1Chinese,
    /// F of the longest common subsequences, as the `rouge` package of LongBench computes it: sentences are what
    /// stands between full stops, and words count once.
    RougeL,
    /// 1 divided by the number of class names in the answer, where the right one is among them (LongBench).
    Class(Vec<String>),
    /// The share of the answer's numbers that are the reference (LongBench's passage count).
    Count,
    /// The same, for a reference that reads `Paragraph 12` (LongBench's passage retrieval).
    Retrieval,
    /// Only the answer's first line counts (LongBench's few-shot tasks).
    FirstLine(Box<Metric>),
    /// The published needle tests' share of the reference's words. The answer's words are a set and the reference's a
    /// list: a word that stands twice counts once but is divided by twice. Of the 12 words of `eat a sandwich and sit
    /// in Dolores Park on a sunny day.` a perfect answer finds 11, and the last one only with its full stop.
    NeedleWords,
    /// The first run of digits is the reference (InfiniteBench's passkey and number string).
    FirstInteger,
    /// The first number, with its fraction, is the reference (InfiniteBench's math find).
    FirstNumber,
    /// The last word is the reference, an integer (InfiniteBench's code run).
    LastInteger,
    /// The reference is one of the words (InfiniteBench's key-value retrieval).
    Word,
    /// The first reference is one of the words in capitals (InfiniteBench's dialogue).
    Speaker,
    /// The letter A to D (or its text) that the answer chooses; references are the text and the letter
    /// (InfiniteBench's book questions).
    Letter,
    /// The same with the narrower rules of InfiniteBench's code debugging.
    CodeLetter,
}

impl Metric {
    /// The score of an answer, 0 to 1; none where there is nothing to compare with.
    pub fn score(&self, answer: &str, answers: &[String]) -> Option<f64> {
        let best = |rule: &dyn Fn(&str) -> f64| answers.iter().map(|reference| rule(reference)).fold(0.0, f64::max);
        let truth = |right: bool| f64::from(u8::from(right));
        if answers.is_empty() {
            return None;
        }
        Some(match self {
            Self::Unscored => return None,
            Self::Contains(choice) => contains(answer, answers, *choice),
            Self::F1 => best(&|reference| f1::words(answer, reference)),
            Self::F1Chinese => best(&|reference| f1::chinese(answer, reference)),
            Self::RougeL => best(&|reference| rouge::l(answer, reference)),
            Self::Class(classes) => best(&|reference| longbench::class(answer, reference, classes)),
            Self::Count => best(&|reference| longbench::count(answer, reference)),
            Self::Retrieval => best(&|reference| longbench::retrieval(answer, reference)),
            Self::FirstLine(rule) => {
                let line = answer.trim_start_matches('\n').split('\n').next().unwrap_or_default();
                return rule.score(line, answers);
            }
            Self::NeedleWords => best(&|reference| needle_words(answer, reference)),
            Self::FirstInteger => best(&|reference| truth(infinite::first_integer(answer) == reference)),
            Self::FirstNumber => best(&|reference| truth(infinite::first_number(answer, reference))),
            Self::LastInteger => best(&|reference| truth(infinite::last_integer(answer, reference))),
            Self::Word => best(&|reference| truth(infinite::word(answer, reference))),
            Self::Speaker => truth(infinite::speaker(answer, &answers[0])),
            Self::Letter => truth(infinite::letter(answer, answers)),
            Self::CodeLetter => truth(infinite::code_letter(answer, answers)),
        })
    }
}

fn contains(answer: &str, answers: &[String], choice: Choice) -> f64 {
    let answer = answer.to_lowercase();
    let held = answers.iter().filter(|reference| answer.contains(&reference.to_lowercase())).count();
    match choice {
        Choice::Any => f64::from(u8::from(held > 0)),
        Choice::All => f64::from(u8::from(held == answers.len())),
        Choice::Share => held as f64 / answers.len() as f64,
    }
}

fn needle_words(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (answer.to_lowercase(), reference.to_lowercase());
    let said: HashSet<&str> = answer.split_whitespace().collect();
    let wanted: HashSet<&str> = reference.split_whitespace().collect();
    wanted.intersection(&said).count() as f64 / reference.split_whitespace().count().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(metric: &Metric, answer: &str, answers: &[&str]) -> f64 {
        metric.score(answer, &answers.iter().map(|&a| a.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn contains_counts_references_held() {
        let answers = ["Mango", "fig", "plum", "pear"];
        for (choice, some, all, none) in
            [(Choice::Any, 1.0, 1.0, 0.0), (Choice::All, 0.0, 1.0, 0.0), (Choice::Share, 0.75, 1.0, 0.0)]
        {
            let metric = Metric::Contains(choice);
            assert_eq!(score(&metric, "A mango, a FIG and plums.", &answers), some);
            assert_eq!(score(&metric, "pear plum fig mango", &answers), all);
            assert_eq!(score(&metric, "grapes", &answers), none);
        }
    }

    #[test]
    fn the_best_reference_counts() {
        assert_eq!(score(&Metric::F1, " The  Cat! ", &["dog", "a cat"]), 1.0);
        assert_eq!(score(&Metric::F1, "cats", &["dog", "a cat"]), 0.0);
        assert_eq!(score(&Metric::F1, "red cat", &["dog", "red fox"]), 0.5);
    }

    #[test]
    fn a_perfect_needle_answer_has_eleven_twelfths() {
        let needle = ["eat a sandwich and sit in Dolores Park on a sunny day."];
        assert_eq!(
            score(&Metric::NeedleWords, "Eat a sandwich and sit in Dolores Park on a sunny day.", &needle),
            11.0 / 12.0
        );
        assert_eq!(
            score(&Metric::NeedleWords, "Eat a sandwich and sit in Dolores Park on a sunny day", &needle),
            10.0 / 12.0
        );
        assert_eq!(score(&Metric::NeedleWords, "a a a", &needle), 1.0 / 12.0);
    }

    #[test]
    fn the_first_line_is_cut_out() {
        let metric = Metric::FirstLine(Box::new(Metric::F1));
        assert_eq!(score(&metric, "\n\nParis\nLondon", &["Paris"]), 1.0);
        assert_eq!(score(&metric, "London\nParis", &["Paris"]), 0.0);
    }

    #[test]
    fn without_a_reference_there_is_no_score() {
        assert_eq!(Metric::Unscored.score("a", &["a".into()]), None);
        assert_eq!(Metric::Speaker.score("a", &[]), None);
    }
}
