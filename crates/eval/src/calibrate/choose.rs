use super::listen::Heard;

/// A query head.
pub(super) type Head = (usize, usize);

/// Heads whose scores are added.
const MOST_HEADS: usize = 3;

/// A choice of heads at one layer and the share of the document they keep.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) heads: Vec<Head>,
    pub(super) keep: f64,
    /// Tokens that are kept together; 1: each by itself.
    pub(super) run: usize,
}

impl Choice {
    /// The layer that must have been walked.
    pub(super) fn layer(&self) -> usize {
        self.heads.iter().map(|(layer, _)| *layer).max().unwrap_or(0)
    }

    /// The share of its scores that falls on tokens of `among`, the rest being what is no plain part of the document.
    pub(super) fn share(&self, heard: &Heard, among: &[bool]) -> f64 {
        let scores = added(heard, &self.heads);
        let sum = |of: &dyn Fn(usize) -> bool| -> f32 { (0..heard.len()).filter(|&i| of(i)).map(|i| scores[i]).sum() };
        let on = sum(&|i| among[i]);
        f64::from(on / (on + sum(&|i| !heard.document[i])).max(f32::MIN_POSITIVE))
    }

    /// Which tokens of `among` it keeps.
    pub(super) fn keeps(&self, heard: &Heard, among: &[bool]) -> Vec<bool> {
        keeps(&added(heard, &self.heads), among, (self.keep * heard.len() as f64).ceil() as usize, self.run)
    }
}

/// The share of the evidence that is kept.
pub(super) fn recall(heard: &Heard, kept: &[bool]) -> f64 {
    let found = heard.evidence.iter().filter(|&&token| kept[token]).count();
    found as f64 / heard.evidence.len().max(1) as f64
}

/// The heads of the layers in `layers` that together find the evidence best, found one by one: the next head is the
/// one that helps most, until none does. `among` says for each case which tokens are left.
pub(super) fn heads(
    cases: &[&Heard],
    among: &[&[bool]],
    layers: std::ops::RangeInclusive<usize>,
    keep: f64,
    run: usize,
) -> Choice {
    let width = cases.first().and_then(|case| case.scores.first()).map_or(0, Vec::len);
    let candidates: Vec<Head> = layers.flat_map(|layer| (0..width).map(move |head| (layer, head))).collect();
    let mut choice = Choice { heads: Vec::new(), keep, run };
    let mut best = f64::NEG_INFINITY;
    while choice.heads.len() < MOST_HEADS {
        let with = |head: Head| {
            let trial = Choice { heads: [choice.heads.as_slice(), &[head]].concat(), ..choice.clone() };
            let goodness = |(case, among): (&&Heard, &&[bool])| {
                let scores = added(case, &trial.heads);
                // Equal recalls are told apart by how much of the scores falls on the evidence.
                recall(case, &keeps(&scores, among, (keep * case.len() as f64).ceil() as usize, run))
                    + 0.05 * margin(case, &scores, among)
            };
            cases.iter().zip(among).map(goodness).sum::<f64>() / cases.len().max(1) as f64
        };
        let new = candidates.iter().filter(|head| !choice.heads.contains(head));
        let Some((head, good)) = new.map(|&head| (head, with(head))).max_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            break;
        };
        if good <= best + 1e-3 {
            break;
        }
        best = good;
        choice.heads.push(head);
    }
    choice
}

fn added(heard: &Heard, heads: &[Head]) -> Vec<f32> {
    let mut sum = vec![0.0; heard.len()];
    for &(layer, head) in heads {
        sum.iter_mut().zip(&heard.scores[layer][head]).for_each(|(sum, score)| *sum += score);
    }
    sum
}

/// The share of the scores that falls on the evidence.
fn margin(heard: &Heard, scores: &[f32], among: &[bool]) -> f64 {
    let on: f32 = heard.evidence.iter().map(|&token| scores[token]).sum();
    let all: f32 = scores.iter().zip(among).filter(|(_, open)| **open).map(|(score, _)| score).sum();
    f64::from(on / all.max(f32::MIN_POSITIVE))
}

/// The best tokens of the document, or runs of it, up to `budget`; what is no plain part of the document costs nothing.
fn keeps(scores: &[f32], among: &[bool], budget: usize, run: usize) -> Vec<bool> {
    let starts: Vec<usize> = (0..scores.len()).step_by(run).collect();
    let open = |start: usize| (start..(start + run).min(scores.len())).filter(|&i| among[i]);
    let mean = |start: usize| {
        let count = open(start).count();
        if count == 0 { f32::NEG_INFINITY } else { open(start).map(|i| scores[i]).sum::<f32>() / count as f32 }
    };
    let mut order: Vec<(f32, usize)> = starts.into_iter().map(|start| (mean(start), start)).collect();
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut kept = vec![false; scores.len()];
    let mut left = budget;
    for (mean, start) in order {
        let new = open(start).count();
        if mean.is_finite() && new <= left {
            left -= new;
            open(start).for_each(|i| kept[i] = true);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Head (1, 0) sees the evidence, head (0, 1) half of it, the others look elsewhere.
    fn heard() -> Heard {
        let at = |tokens: &[usize]| (0..12).map(|i| if tokens.contains(&i) { 1.0 } else { 0.1 }).collect::<Vec<f32>>();
        Heard {
            task: "needle".into(),
            evidence: vec![5, 6],
            document: vec![true; 12],
            scores: vec![vec![at(&[0]), at(&[5, 1])], vec![at(&[5, 6]), at(&[9])]],
        }
    }

    #[test]
    fn the_heads_that_see_the_evidence_are_found() {
        let case = heard();
        let all = vec![true; 12];
        let found = heads(&[&case], &[&all], 0..=1, 2.0 / 12.0, 1);
        assert_eq!(found.heads, [(1, 0)]);
        assert_eq!((found.layer(), recall(&case, &found.keeps(&case, &all))), (1, 1.0));
        let early = heads(&[&case], &[&all], 0..=0, 2.0 / 12.0, 1);
        assert_eq!(early.heads[0], (0, 1));
        assert_eq!(recall(&case, &early.keeps(&case, &all)), 0.5);
    }

    #[test]
    fn runs_are_kept_whole_and_closed_tokens_never() {
        let scores = [0.0, 3.0, 0.0, 0.0, 2.0, 2.0];
        let all = [true; 6];
        assert_eq!(keeps(&scores, &all, 2, 2), [false, false, false, false, true, true]);
        assert_eq!(keeps(&scores, &all, 3, 1), [false, true, false, false, true, true]);
        let closed = [true, false, true, true, true, false];
        assert_eq!(keeps(&scores, &closed, 1, 2), [false, false, false, false, true, false]);
        assert_eq!(keeps(&scores, &all, 0, 1), [false; 6]);
    }
}
