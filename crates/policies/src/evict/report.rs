use skimlm_core::{LayerHeads, Pass, Report, Seen, Shape};

/// What each head of each layer has kept of the last prompt.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Position of the prompt's first token.
    first: u32,
    tokens: usize,
    heads: usize,
    layers: Vec<LayerHeads>,
}

impl Lists {
    pub(super) fn begin(&mut self, prompt: &Pass, shape: &Shape) {
        self.first = prompt.rows.positions.first().copied().unwrap_or(0);
        self.tokens = prompt.rows.len();
        self.heads = shape.kv_heads;
        self.layers.clear();
    }

    /// Notes the lists of a layer; none: everything stays.
    pub(super) fn note(&mut self, seen: &Seen<'_>, lists: Option<&[Vec<u32>]>) {
        let banks = seen.cache.banks();
        let of_bank = |positions: &[u32], list: &mut dyn Iterator<Item = usize>| -> Vec<u32> {
            list.filter_map(|i| positions.get(i)?.checked_sub(self.first)).collect()
        };
        let heads = match lists {
            None => vec![(0..self.tokens as u32).collect(); self.heads],
            Some(lists) => (0..)
                .zip(lists)
                .filter_map(|(i, list): (usize, _)| {
                    let bank = banks.get(i).or(banks.first())?;
                    Some(of_bank(bank.positions(), &mut list.iter().map(|&i| i as usize)))
                })
                .collect(),
        };
        self.layers.push(LayerHeads { layer: seen.layer, heads });
    }

    /// Every token that any head keeps, scored by the share of heads that keep it. Layers count alike: one that
    /// keeps everything has a list a kv head, another may have one a query head.
    pub(super) fn report(&self, budget: usize) -> Option<Report> {
        let last = self.layers.last()?.layer;
        let mut sums = vec![0.0; self.tokens];
        for layer in &self.layers {
            let mut votes = vec![0usize; self.tokens];
            for &token in layer.heads.iter().flatten() {
                if let Some(vote) = votes.get_mut(token as usize) {
                    *vote += 1;
                }
            }
            // Whole votes first: where all heads agree the share is exactly 1.
            let heads = layer.heads.len().max(1) as f64;
            sums.iter_mut().zip(votes).for_each(|(sum, votes)| *sum += votes as f64 / heads);
        }
        let shares: Vec<f32> = sums.iter().map(|sum| (sum / self.layers.len() as f64) as f32).collect();
        let indices: Vec<u32> = (0..self.tokens as u32).filter(|&i| sums[i as usize] > 0.0).collect();
        let reason = format!("each head of each layer keeps up to {budget} of {} tokens", self.tokens);
        Some(Report {
            layer: last,
            budget,
            scores: indices.iter().map(|&i| shares[i as usize]).collect(),
            indices,
            all_scores: Some(shares),
            reason,
            heads: Some(self.layers.clone()),
            ..Report::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_scores_the_share_of_heads_that_keep_it() {
        let heads = |layer, lists: &[&[u32]]| LayerHeads { layer, heads: lists.iter().map(|l| l.to_vec()).collect() };
        let layers = vec![heads(0, &[&[0, 3], &[0, 4]]), heads(1, &[&[0, 1], &[0, 4]])];
        let lists = Lists { first: 10, tokens: 5, heads: 2, layers };
        let report = lists.report(2).unwrap();
        assert_eq!(report.indices, [0, 1, 3, 4]);
        assert_eq!(report.scores, [1.0, 0.25, 0.25, 0.5]);
        assert_eq!(report.all_scores.unwrap(), [1.0, 0.25, 0.0, 0.25, 0.5]);
        assert_eq!((report.layer, report.budget, report.heads.unwrap().len()), (1, 2, 2));
    }

    #[test]
    fn layers_count_alike_however_many_lists_they_have() {
        let heads = |layer, list: &[u32], count| LayerHeads { layer, heads: vec![list.to_vec(); count] };
        let layers = vec![heads(0, &[0, 1, 2], 3), heads(1, &[0, 2], 9)];
        let report = Lists { first: 0, tokens: 3, heads: 3, layers }.report(2).unwrap();
        assert_eq!(report.all_scores.unwrap(), [1.0, 0.5, 1.0]);
    }

    #[test]
    fn before_any_layer_there_is_nothing_to_report() {
        assert_eq!(Lists::default().report(4), None);
    }
}
