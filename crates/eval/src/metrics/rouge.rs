use std::collections::HashSet;

/// ROUGE-L on summaries, `2pr / (p + r + 1e-8)`: the words of the longest common subsequences of every pair of
/// sentences, as one set, over the sets of words. 0 for an empty side.
pub(super) fn l(answer: &str, reference: &str) -> f64 {
    let (said, wanted) = (parts(answer), parts(reference));
    if said.is_empty() || wanted.is_empty() {
        return 0.0;
    }
    let distinct = |parts: &[Vec<&str>]| parts.iter().flatten().collect::<HashSet<_>>().len() as f64;
    let mut common: HashSet<&str> = HashSet::new();
    for reference in &wanted {
        for answer in &said {
            common.extend(subsequence(reference, answer));
        }
    }
    let common = common.len() as f64;
    let (precision, recall) = (common / distinct(&said), common / distinct(&wanted));
    2.0 * precision * recall / (precision + recall + 1e-8)
}

/// What stands between full stops. White space by itself is one empty word, which the package counts.
fn parts(text: &str) -> Vec<Vec<&str>> {
    let words = |part: &'_ str| part.split_whitespace().count() == 0;
    text.split('.')
        .filter(|part| !part.is_empty())
        .map(|part| if words(part) { vec![""] } else { part.split_whitespace().collect() })
        .collect()
}

/// One longest common subsequence; of several, the one that the package finds.
fn subsequence<'a>(x: &[&'a str], y: &[&str]) -> Vec<&'a str> {
    let width = y.len() + 1;
    let mut table = vec![0_u32; (x.len() + 1) * width];
    for i in 1..=x.len() {
        for j in 1..width {
            table[i * width + j] = if x[i - 1] == y[j - 1] {
                table[(i - 1) * width + j - 1] + 1
            } else {
                table[(i - 1) * width + j].max(table[i * width + j - 1])
            };
        }
    }
    let (mut i, mut j) = (x.len(), y.len());
    let mut found = Vec::new();
    while i > 0 && j > 0 {
        if x[i - 1] == y[j - 1] {
            found.push(x[i - 1]);
            (i, j) = (i - 1, j - 1);
        } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-6, "{value}, not {expected}");
    }

    #[test]
    fn follows_the_published_example() {
        // Reference w1..w5; "w1 w2 w6 w7 w8" shares w1 w2, "w1 w3 w8 w9 w5" shares w1 w3 w5: the union has 4 of 5,
        // and of the 8 words said: P 1/2, R 4/5.
        let score = l("w1 w2 w6 w7 w8. w1 w3 w8 w9 w5", "w1 w2 w3 w4 w5");
        close(score, 2.0 * 0.5 * 0.8 / 1.3);
    }

    #[test]
    fn order_and_repetition() {
        close(l("the cat sat", "the cat sat"), 1.0);
        close(l("c b a", "a b c"), 1.0 / 3.0);
        // Words count once: one of one said, one of two wanted.
        close(l("the the the", "the end"), 2.0 * 0.5 / 1.5);
    }

    #[test]
    fn space_behind_a_full_stop_is_a_word() {
        // {a, ""} against {a}: P 1/2, R 1.
        close(l("a. ", "a."), 2.0 * 0.5 / 1.5);
        close(l("", "a"), 0.0);
        close(l("...", "a"), 0.0);
    }
}
