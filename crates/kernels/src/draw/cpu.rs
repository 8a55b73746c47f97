use super::{Drawing, below, weight};

/// Below this distance a weight comes to nothing: e^-28.43 is less than 2^-41.
const FAR: f64 = -28.43;

#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    weight: u64,
}

/// Without an exponential for what has no weight, and without sorting more than the cuts need.
pub(super) fn draw(logits: &[f32], how: &Drawing, random: u64) -> usize {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let distances = (0..).zip(logits.iter().map(|&logit| how.distance(logit, top)));
    let near = distances.filter(|(_, distance)| *distance > FAR);
    let mut left: Vec<Candidate> = near.map(|(id, distance)| Candidate { id, weight: weight(distance) }).collect();
    let likelier = |a: &Candidate, b: &Candidate| b.weight.cmp(&a.weight).then(a.id.cmp(&b.id));
    if how.top_k < left.len() {
        left.select_nth_unstable_by(how.top_k.max(1) - 1, likelier);
        left.truncate(how.top_k.max(1));
    }
    if how.top_p < 1.0 {
        let total = sum(&left);
        let wanted = how.wanted(total);
        // Those below this weigh less together than may be left out: the cut lies before them, and sorting the few
        // others is cheap.
        let least = (total - wanted) / left.len() as u64;
        left.retain(|candidate| candidate.weight >= least);
        left.sort_unstable_by(likelier);
        let mut mass = 0;
        let cut = left.iter().position(|candidate| {
            mass += candidate.weight;
            mass >= wanted
        });
        left.truncate(cut.map_or(left.len(), |last| last + 1));
    }
    let least = how.least();
    left.retain(|candidate| candidate.weight >= least);
    left.sort_unstable_by_key(|candidate| candidate.id);
    let mut at = below(sum(&left), random);
    let hit = left.iter().find(|candidate| match at.checked_sub(candidate.weight) {
        Some(rest) => {
            at = rest;
            false
        }
        None => true,
    });
    hit.map_or(0, |candidate| candidate.id as usize)
}

fn sum(of: &[Candidate]) -> u64 {
    of.iter().map(|candidate| candidate.weight).sum()
}
