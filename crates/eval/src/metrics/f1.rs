use std::collections::HashMap;
use std::hash::Hash;

/// Full-width and Chinese marks that the Chinese rule drops beside the ASCII ones.
const CHINESE_MARKS: &str = "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏";

/// Words in small letters without ASCII punctuation and without articles.
fn normalised(text: &str) -> Vec<String> {
    let bare: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    // An article is a run of letters and digits by itself, also between marks that are not ASCII.
    let mut kept = String::with_capacity(bare.len());
    let mut run = String::new();
    for c in bare.chars().chain([' ']) {
        if c.is_alphanumeric() {
            run.push(c);
        } else {
            kept.push_str(if matches!(run.as_str(), "a" | "an" | "the") { " " } else { &run });
            run.clear();
            kept.push(c);
        }
    }
    kept.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn words(answer: &str, reference: &str) -> f64 {
    bags(&normalised(answer), &normalised(reference))
}

pub(super) fn chinese(answer: &str, reference: &str) -> f64 {
    let characters = |text: &str| -> Vec<char> {
        let drop = |c: &char| c.is_ascii_punctuation() || c.is_whitespace() || CHINESE_MARKS.contains(*c);
        text.to_lowercase().chars().filter(|c| !drop(c)).collect()
    };
    bags(&characters(answer), &characters(reference))
}

fn bags<T: Eq + Hash>(answer: &[T], reference: &[T]) -> f64 {
    let mut left: HashMap<&T, usize> = HashMap::new();
    for item in reference {
        *left.entry(item).or_default() += 1;
    }
    let mut same = 0;
    for item in answer {
        if let Some(count) = left.get_mut(item).filter(|count| **count > 0) {
            *count -= 1;
            same += 1;
        }
    }
    if same == 0 {
        return 0.0;
    }
    let precision = f64::from(same) / answer.len() as f64;
    let recall = f64::from(same) / reference.len() as f64;
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_and_punctuation_go() {
        assert_eq!(
            normalised("The quick, (brown) an-swer: a “the” Theatre"),
            ["quick", "brown", "answer", "“", "”", "theatre"]
        );
    }

    #[test]
    fn words_are_bags() {
        // Two of four said, two of three wanted: P 1/2, R 2/3.
        assert!((words("a cat, cat sat on", "The cat sat down") - 4.0 / 7.0).abs() < 1e-12);
        assert_eq!(words("the", "the"), 0.0);
        assert_eq!(words("", "x"), 0.0);
        assert_eq!(words("Exactly", "exactly!"), 1.0);
    }

    #[test]
    fn chinese_counts_characters() {
        // Three said, two wanted, two shared.
        assert!((chinese("北京。市", "北京") - 0.8).abs() < 1e-12);
        assert_eq!(chinese("，", "北京"), 0.0);
    }
}
