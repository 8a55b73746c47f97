use skimlm_core::Result;
use skimlm_kernels::select::top_k;

/// How many entries each head keeps of its candidates.
pub(crate) trait Share: Send {
    /// One count a row of `candidates`. Layers of a pass come in order, from 0.
    fn split(&mut self, layer: usize, candidates: &[Vec<f32>]) -> Result<Vec<usize>>;

    /// Entries a head keeps on average, guarded ones not counted.
    fn entries(&self) -> usize;
}

/// The same number everywhere.
pub(crate) struct Even(pub(crate) usize);

impl Share for Even {
    fn split(&mut self, _: usize, candidates: &[Vec<f32>]) -> Result<Vec<usize>> {
        Ok(vec![self.0; candidates.len()])
    }

    fn entries(&self) -> usize {
        self.0
    }
}

/// More in low layers, less in high ones, along a straight line (PyramidKV, Cai et al., arXiv 2406.02069:
/// the top layer keeps `1 / slope` of the average, the bottom layer the rest of twice the average, or what
/// there is; the top layer gets what the bottom one cannot take). What fits the average stays in every layer.
pub(crate) struct Pyramid {
    entries: usize,
    layers: usize,
    slope: usize,
    /// What the bottom layer has: in later prompts of a session the layers above it do not have as much.
    bottom: usize,
}

impl Pyramid {
    pub(crate) fn new(entries: usize, layers: usize, slope: usize) -> Self {
        Self { entries, layers, slope, bottom: 0 }
    }
}

impl Share for Pyramid {
    fn split(&mut self, layer: usize, candidates: &[Vec<f32>]) -> Result<Vec<usize>> {
        if layer == 0 {
            self.bottom = candidates.iter().map(Vec::len).max().unwrap_or(0);
        }
        if self.bottom <= self.entries {
            return Ok(vec![self.entries; candidates.len()]);
        }
        let last = self.layers.saturating_sub(1).max(1);
        let bottom = (2 * self.entries - self.entries / self.slope.max(1)).min(self.bottom);
        let top = 2 * self.entries - bottom;
        Ok(vec![bottom - (bottom - top) * layer.min(last) / last; candidates.len()])
    }

    fn entries(&self) -> usize {
        self.entries
    }
}

/// One budget for all heads of a layer: the best entries of any head win it (Ada-KV, Feng et al., arXiv
/// 2407.11550). Every head has `floor` of its even share for certain.
pub(crate) struct Across {
    pub(crate) entries: usize,
    pub(crate) floor: f64,
}

impl Share for Across {
    fn split(&mut self, _: usize, candidates: &[Vec<f32>]) -> Result<Vec<usize>> {
        let certain = (self.entries as f64 * self.floor) as usize;
        let mut counts: Vec<usize> = candidates.iter().map(|c| certain.min(c.len())).collect();
        // What a head has for certain is its best; the others compete over all heads.
        let mut rest = Vec::new();
        let mut head_of = Vec::new();
        for (head, scores) in candidates.iter().enumerate() {
            let mut taken = vec![false; scores.len()];
            top_k(scores, counts[head])?.iter().for_each(|&i| taken[i as usize] = true);
            for (&score, _) in scores.iter().zip(&taken).filter(|(_, taken)| !**taken) {
                rest.push(score);
                head_of.push(head);
            }
        }
        let open = (self.entries * candidates.len()).saturating_sub(counts.iter().sum());
        for i in top_k(&rest, open)? {
            counts[head_of[i as usize]] += 1;
        }
        Ok(counts)
    }

    fn entries(&self) -> usize {
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pyramid_keeps_its_average() {
        let mut pyramid = Pyramid::new(100, 5, 4);
        let mut split = |free: [usize; 5]| -> Vec<usize> {
            (0..5).map(|layer| pyramid.split(layer, &[vec![0.0; free[layer]]]).unwrap()[0]).collect()
        };
        let second = split([185, 148, 110, 73, 35]);
        assert_eq!(second, [175, 138, 100, 63, 25], "ten more after a first prompt");
        let mut counts = |free: usize| split([free; 5]);
        assert_eq!(counts(999), [175, 138, 100, 63, 25]);
        assert_eq!(counts(175), [175, 138, 100, 63, 25]);
        assert_eq!(counts(150), [150, 125, 100, 75, 50], "the top layer gets what the bottom one cannot take");
        assert_eq!((counts(100), counts(9)), (vec![100; 5], vec![100; 5]), "what fits the budget stays everywhere");
    }

    #[test]
    fn heads_compete_for_a_layers_budget() {
        let mut across = Across { entries: 2, floor: 0.5 };
        let counts = across.split(0, &[vec![9.0, 8.0, 7.0], vec![1.0, 0.5, 0.1]]).unwrap();
        assert_eq!(counts, [3, 1]);
    }
}
