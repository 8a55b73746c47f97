//! A plain forward pass in f64 with an explicit mask: every row computed, nothing chunked, nothing dropped.

use candle_core::{Device, Tensor};
use skimlm_core::{Model, Which};

/// Who sees whom: layer, query head, position of the row, position of the entry (never a later one).
pub(crate) type Sees<'a> = dyn Fn(usize, usize, u32, u32) -> bool + 'a;

/// Which rows go on above a layer, by position; none: all.
pub(crate) type Above<'a> = dyn Fn(usize) -> Option<Vec<u32>> + 'a;

/// One token of one layer, every head side by side.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) position: u32,
    /// Not rotated.
    pub(crate) raw: Vec<f32>,
    pub(crate) q: Vec<f64>,
    pub(crate) k: Vec<f64>,
    pub(crate) v: Vec<f32>,
}

pub(crate) struct Dense<'m> {
    model: &'m dyn Model,
    /// Everything ever read, by layer.
    pub(crate) layers: Vec<Vec<Entry>>,
    /// Whether a row stands at its place among the rows that a layer has read, not at its position.
    pub(crate) by_place: bool,
}

impl<'m> Dense<'m> {
    pub(crate) fn new(model: &'m dyn Model) -> Self {
        Self { model, layers: vec![Vec::new(); model.shape().layers.len()], by_place: false }
    }

    /// Full causal attention over the tokens at the positions 0, 1, 2, ...
    pub(crate) fn whole(&mut self, tokens: &[u32]) -> Vec<f32> {
        let positions: Vec<u32> = (0..tokens.len() as u32).collect();
        self.read(tokens, &positions, &|_, _, _, _| true, &|_| None)
    }

    /// The logits of the last row.
    pub(crate) fn read(&mut self, tokens: &[u32], positions: &[u32], sees: &Sees<'_>, above: &Above<'_>) -> Vec<f32> {
        let shape = self.model.shape();
        let (heads, dim) = (shape.heads, shape.head_dim);
        let mut positions = positions.to_vec();
        let mut x = self.model.embed(tokens).unwrap();
        for layer in 0..shape.layers.len() {
            let projected = self.model.project(layer, &x, Which::ALL).unwrap();
            let flat = |x: Option<Tensor>| x.unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
            let (q, k, v) = (flat(projected.q), flat(projected.k), flat(projected.v));
            let first = self.layers[layer].len();
            for (((raw, q), v), &position) in k.into_iter().zip(q).zip(v).zip(&positions) {
                let place = self.layers[layer].len() as u32;
                let position = if self.by_place { place } else { position };
                let (q, k) = (self.rotated(&q, position), self.rotated(&raw, position));
                self.layers[layer].push(Entry { position, raw, q, k, v });
            }
            let mut attended = Vec::new();
            for row in &self.layers[layer][first..] {
                for head in 0..heads {
                    attended.extend(self.attend(layer, head, row, sees));
                }
            }
            let attended = Tensor::from_vec(attended, (positions.len(), heads, dim), &Device::Cpu).unwrap();
            x = self.model.finish(layer, &x, attended).unwrap();
            if let Some(kept) = above(layer) {
                let rows: Vec<u32> = (0..).zip(&positions).filter(|(_, p)| kept.contains(p)).map(|(i, _)| i).collect();
                x = x.index_select(&Tensor::new(rows.as_slice(), &Device::Cpu).unwrap(), 0).unwrap();
                positions.retain(|p| kept.contains(p));
            }
        }
        let last = x.narrow(0, positions.len() - 1, 1).unwrap();
        self.model.head(&last).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn attend(&self, layer: usize, head: usize, row: &Entry, sees: &Sees<'_>) -> Vec<f32> {
        let shape = self.model.shape();
        let (dim, kv) = (shape.head_dim, head / (shape.heads / shape.kv_heads));
        let seen: Vec<&Entry> = self.layers[layer]
            .iter()
            .filter(|e| e.position <= row.position && sees(layer, head, row.position, e.position))
            .collect();
        let weights = softmax(&seen.iter().map(|e| self.dot(head, row, e)).collect::<Vec<_>>());
        let sum = |i: usize| weights.iter().zip(&seen).map(|(w, e)| w * f64::from(e.v[kv * dim + i])).sum::<f64>();
        (0..dim).map(|i| sum(i) as f32).collect()
    }

    /// `scale * q.k` of a query head.
    pub(crate) fn dot(&self, head: usize, row: &Entry, entry: &Entry) -> f64 {
        let shape = self.model.shape();
        let (dim, kv) = (shape.head_dim, head / (shape.heads / shape.kv_heads));
        let (q, k) = (&row.q[head * dim..][..dim], &entry.k[kv * dim..][..dim]);
        f64::from(shape.scale) * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>()
    }

    /// Pairs `(i, i + dim / 2)` of every head turned by `position * inv_freq[i]`.
    pub(crate) fn rotated(&self, x: &[f32], position: u32) -> Vec<f64> {
        let rotary = self.model.rotaries(1).remove(0);
        let mut out: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        for head in out.chunks_mut(self.model.shape().head_dim) {
            let half = head.len() / 2;
            for (i, freq) in rotary.inv_freq.iter().enumerate() {
                let (sin, cos) = (f64::from(position) * freq).sin_cos();
                let (a, b) = (head[i], head[i + half]);
                (head[i], head[i + half]) = (a * cos - b * sin, a * sin + b * cos);
            }
        }
        out
    }
}

pub(crate) fn softmax(x: &[f64]) -> Vec<f64> {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = x.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}
