use super::Pick;

/// One comparison and one exponential at a time; there is at least one logit.
pub(super) fn top(logits: &[f32]) -> Pick {
    let index = likeliest(logits);
    let value = logits[index];
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - f64::from(value)).exp()).sum();
    Pick { index, value, log_sum: f64::from(value) + sum.ln() }
}

/// The first of the largest; 0 of none.
pub(crate) fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = index;
        }
    }
    best
}
