use std::cmp::Reverse;

use super::{Drawing, below, weight};
use crate::logits::likeliest;

/// Everything sorted, one step after the other.
pub(super) fn draw(logits: &[f32], how: &Drawing, random: u64) -> usize {
    let top = logits[likeliest(logits)];
    let weights: Vec<u64> = logits.iter().map(|&logit| weight(how.distance(logit, top))).collect();
    let sum = |of: &[usize]| of.iter().map(|&id| weights[id]).sum::<u64>();
    let mut left: Vec<usize> = (0..logits.len()).collect();
    left.sort_by_key(|&id| (Reverse(weights[id]), id));
    left.truncate(how.top_k.max(1));
    let (wanted, mut mass) = (how.wanted(sum(&left)), 0);
    let last = left.iter().position(|&id| {
        mass += weights[id];
        mass >= wanted
    });
    left.truncate(last.map_or(left.len(), |last| last + 1));
    left.retain(|&id| weights[id] >= how.least());
    left.sort_unstable();
    let (at, mut mass) = (below(sum(&left), random), 0);
    let hit = left.iter().find(|&&id| {
        mass += weights[id];
        mass > at
    });
    hit.copied().unwrap_or(0)
}
