//! Means and their intervals.

use serde::Serialize;

use crate::random::Random;

/// Resamples of each bootstrap.
const RESAMPLES: usize = 2000;

/// A mean with its 95 % bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// The 2.5th percentile of the resampled means.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
    /// The number of values.
    pub n: usize,
}

/// The mean of values, its interval by resampling them. None without values.
pub fn mean(values: &[f64], seed: u64) -> Option<Mean> {
    mean_of_groups(&[values], seed)
}

/// The plain mean of the groups' means, its interval by resampling within each group: tasks count alike, however many
/// cases each has. Empty groups are left out.
pub fn mean_of_groups(groups: &[&[f64]], seed: u64) -> Option<Mean> {
    let groups: Vec<&[f64]> = groups.iter().copied().filter(|group| !group.is_empty()).collect();
    if groups.is_empty() {
        return None;
    }
    let over = |sum: f64, group: &[f64]| sum / (group.len() * groups.len()) as f64;
    let mean = groups.iter().map(|group| over(group.iter().sum(), group)).sum();
    let mut random = Random::new("bootstrap", seed);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let resampled = |group: &&[f64]| over(group.iter().map(|_| group[random.below(group.len())]).sum(), group);
            groups.iter().map(resampled).sum()
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let tail = RESAMPLES / 40;
    let n = groups.iter().map(|group| group.len()).sum();
    Some(Mean { mean, low: means[tail], high: means[RESAMPLES - 1 - tail], n })
}

/// The value in the middle; the mean of the two there. None without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[sorted.len() / 2 - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_no_spread() {
        assert_eq!(mean(&[0.5; 9], 1), Some(Mean { mean: 0.5, low: 0.5, high: 0.5, n: 9 }));
        assert_eq!(mean(&[], 1), None);
    }

    #[test]
    fn intervals_are_those_of_the_binomial() {
        // Sixty of a hundred: 0.6, standard error 0.049, 95 % about 0.50 to 0.69.
        let values: Vec<f64> = (0..100).map(|i| f64::from(i < 60)).collect();
        let found = mean(&values, 7).unwrap();
        assert!((found.mean - 0.6).abs() < 1e-12);
        assert!((0.48..=0.52).contains(&found.low) && (0.68..=0.72).contains(&found.high), "{found:?}");
        assert_eq!(mean(&values, 7), Some(found));
    }

    #[test]
    fn groups_count_alike() {
        let found = mean_of_groups(&[&[1.0; 30], &[0.0; 3], &[]], 1).unwrap();
        assert_eq!((found.mean, found.low, found.high, found.n), (0.5, 0.5, 0.5, 33));
    }

    #[test]
    fn medians() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0]), median(&[])), (Some(2.0), Some(2.5), None));
    }
}
