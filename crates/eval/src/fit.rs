use crate::Count;

/// The longest text of the right size: the largest `n` up to `most` for which `build(n)` has at most `tokens` tokens.
///
/// Growth is close to linear, so that guessing in proportion takes a few counts where halving takes a dozen; every
/// third guess halves all the same, against steps that creep.
pub(crate) fn fit(
    tokens: usize,
    most: usize,
    build: &dyn Fn(usize) -> String,
    count: &Count,
) -> Option<(usize, String)> {
    let (mut low, mut high) = (0, most + 1);
    let (mut best, mut guess, mut counts) = (None, (tokens / 20).max(1), 0);
    while high - low > 1 {
        let n = guess.clamp(low + 1, high - 1);
        let text = build(n);
        let counted = count(&text).max(1);
        if counted <= tokens {
            low = n;
            best = Some((n, text));
        } else {
            high = n;
        }
        counts += 1;
        let proportional = n.saturating_mul(tokens) / counted;
        guess = if counts % 3 == 0 { low.midpoint(high) } else { proportional };
    }
    best
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn finds_the_largest_that_fits_in_few_counts() {
        for tokens in [1, 10, 99, 7500, 100_000] {
            let calls = Cell::new(0);
            let count = |text: &str| {
                calls.set(calls.get() + 1);
                text.len() / 4
            };
            let (n, text) = fit(tokens, 4000, &|n| "x".repeat(100 * n), &count).unwrap_or_default();
            assert_eq!(n, ((4 * tokens + 3) / 100).min(4000));
            assert_eq!(text.len(), 100 * n);
            assert!(calls.get() <= 14, "{} counts for {tokens}", calls.get());
        }
    }
}
