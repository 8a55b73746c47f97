use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::recall::merged;
use crate::{Count, sentences};

/// Saturation of a word's count, and how much long sentences pay.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// The control that reads words only: the document's best sentences for the question by BM25, as ascending byte
/// ranges, until their tokens fill the budget.
///
/// A sentence that does not fit is passed over for the next best. Sentences without any word of the question follow
/// in document order, so that every selection is compared at the same size. Inverse document frequency is
/// `ln(1 + (n - m + 0.5) / (m + 0.5))` for `m` of `n` sentences, never negative (Robertson and Zaragoza 2009, as
/// Lucene does it).
pub fn bm25(document: &str, question: &str, budget: usize, count: &Count) -> Vec<Range<usize>> {
    let pieces = sentences(document);
    let scores = scores(document, &pieces, question);
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut left = budget;
    let mut kept = Vec::new();
    for i in order {
        if left == 0 {
            break;
        }
        let tokens = count(&document[pieces[i].clone()]);
        if tokens <= left {
            left -= tokens;
            kept.push(pieces[i].clone());
        }
    }
    merged(&kept)
}

fn scores(document: &str, pieces: &[Range<usize>], question: &str) -> Vec<f64> {
    let bags: Vec<HashMap<String, f64>> = pieces.iter().map(|piece| bag(&document[piece.clone()])).collect();
    let lengths: Vec<f64> = bags.iter().map(|bag| bag.values().sum()).collect();
    let mean = (lengths.iter().sum::<f64>() / pieces.len().max(1) as f64).max(1.0);
    let n = pieces.len() as f64;
    let mut scores = vec![0.0; pieces.len()];
    let asked: HashSet<String> = words(question).collect();
    // In a fixed order: the last bits of a sum depend on it, and ties on the last bits.
    let mut asked: Vec<&String> = asked.iter().collect();
    asked.sort_unstable();
    for word in asked {
        let holding = bags.iter().filter(|bag| bag.contains_key(word)).count() as f64;
        let rarity = (1.0 + (n - holding + 0.5) / (holding + 0.5)).ln();
        for ((score, bag), length) in scores.iter_mut().zip(&bags).zip(&lengths) {
            if let Some(times) = bag.get(word) {
                *score += rarity * times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length / mean));
            }
        }
    }
    scores
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

fn bag(text: &str) -> HashMap<String, f64> {
    let mut bag = HashMap::new();
    for word in words(text) {
        *bag.entry(word).or_default() += 1.0;
    }
    bag
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::words as count;

    const TEXT: &str = "The sea is wide. Anna keeps the brass key in a teapot. The sea is deep and cold. Rain fell.";

    fn kept(question: &str, budget: usize) -> Vec<&'static str> {
        bm25(TEXT, question, budget, &count).into_iter().map(|range| &TEXT[range]).collect()
    }

    #[test]
    fn rare_words_of_the_question_win() {
        assert_eq!(kept("Where does Anna keep the brass key?", 9), ["Anna keeps the brass key in a teapot."]);
        assert_eq!(kept("How deep is the SEA?", 6), ["The sea is deep and cold."]);
    }

    #[test]
    fn the_rest_of_the_budget_is_filled_in_document_order() {
        // "Rain" is best; of the three without it the first that fits in three tokens is none, in four the first.
        assert_eq!(kept("rain", 5), ["Rain fell."]);
        assert_eq!(kept("rain", 6), ["The sea is wide.", "Rain fell."]);
        assert!(kept("rain", 0).is_empty());
    }

    #[test]
    fn scores_follow_the_formula() {
        // Two sentences of two and four words, mean three; "b" stands twice in the second: idf ln 2, saturation
        // 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 4 / 3)).
        let text = "A a. A b b c.";
        let scores = scores(text, &sentences(text), "b");
        assert_eq!(scores[0], 0.0);
        assert!((scores[1] - 2.0_f64.ln() * 4.4 / 3.5).abs() < 1e-12);
        assert!(bm25("", "b", 4, &count).is_empty());
    }
}
