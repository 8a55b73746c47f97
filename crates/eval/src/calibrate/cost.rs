use skimlm_core::Shape;

/// Multiply-add operations of the prompt passes: a layer costs
/// `2 P n` for its `P` weights and `2 n^2 H d` for causal attention.
pub(super) struct Cost {
    weights: f64,
    heads: f64,
    layers: f64,
    kv: f64,
}

impl Cost {
    /// `parameters`: all weights of the model; the head is the embedding where it is `tied`, and neither counts.
    pub(super) fn new(shape: &Shape, parameters: u64, tied: bool) -> Self {
        let layers = shape.layers.len() as f64;
        let outside = (1 + u64::from(!tied)) * (shape.vocab * shape.hidden) as u64;
        Self {
            weights: parameters.saturating_sub(outside) as f64 / layers,
            heads: (shape.heads * shape.head_dim) as f64,
            kv: (shape.hidden * shape.kv_heads * shape.head_dim) as f64,
            layers,
        }
    }

    fn layer(&self, n: f64) -> f64 {
        2.0 * self.weights * n + 2.0 * n * n * self.heads
    }

    /// Full attention on `n` tokens.
    pub(super) fn full(&self, n: f64) -> f64 {
        self.layers * self.layer(n)
    }

    /// A filter pass that narrows at `stages` (layer and share kept), the last of which chooses, and the reading of
    /// what it chose. At a stage's layer all rows cost their keys and values, what is kept costs the rest.
    pub(super) fn staged(&self, n: f64, stages: &[(usize, f64)]) -> f64 {
        let (mut total, mut rows, mut next) = (0.0, n, 0.0);
        for (i, &(layer, share)) in stages.iter().enumerate() {
            total += (layer as f64 - next) * self.layer(rows);
            let kept = share * n;
            total += if i + 1 == stages.len() {
                2.0 * self.kv * rows
            } else {
                4.0 * self.kv * rows + 2.0 * (self.weights - 2.0 * self.kv) * kept + 4.0 * kept * rows * self.heads
            };
            (rows, next) = (kept, layer as f64 + 1.0);
        }
        total + self.full(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skimlm_core::LayerShape;

    /// The weights of the layers and, as often as `tables` says, those of an embedding or a head.
    fn smollm(tables: u64, tied: bool) -> Cost {
        let shape = Shape {
            hidden: 576,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocab: 49152,
            max_positions: 8192,
            scale: 0.125,
            layers: vec![LayerShape::default(); 30],
        };
        Cost::new(&shape, 30 * 3_538_944 + tables * 49152 * 576, tied)
    }

    #[test]
    fn the_default_model_at_8k_costs_what_the_table_says() {
        let full = smollm(1, true).full(8192.0) / 1e12;
        assert!((4.0..4.1).contains(&full), "{full}");
        assert_eq!(smollm(2, false).full(8192.0) / 1e12, full, "a head of its own is no layer either");
    }

    #[test]
    fn narrowing_early_is_cheap_and_keeping_everything_is_not() {
        let cost = smollm(1, true);
        let share = |stages: &[(usize, f64)]| cost.staged(7500.0, stages) / cost.full(7500.0);
        assert!((0.25..0.32).contains(&share(&[(7, 0.1)])), "{}", share(&[(7, 0.1)]));
        assert!(share(&[(7, 0.25), (15, 0.1)]) < 0.36);
        assert!(share(&[(15, 0.1)]) > 0.5);
        assert!(share(&[(7, 1.0)]) > 1.2);
    }
}
