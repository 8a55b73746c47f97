use super::Pick;

/// One comparison and one exponential at a time; there is at least one logit.
pub(super) fn top(logits: &[f32]) -> Pick {
    let (mut index, mut value) = (0, logits[0]);
    for (i, &logit) in logits.iter().enumerate() {
        if logit > value {
            (index, value) = (i, logit);
        }
    }
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - f64::from(value)).exp()).sum();
    Pick { index, value, log_sum: f64::from(value) + sum.ln() }
}
