//! Whole models against known results, by the plainest possible walk.

mod convert;
mod folder;
mod golden;
mod real;
mod reference;
mod split;

use std::path::Path;

use candle_core::Tensor;
use skimlm_core::{Model, Result, Visibility, Which};
use skimlm_kernels::attention::{Entries, attention};
use skimlm_kernels::linear::Weight;
use skimlm_kernels::rope::rotate;

use crate::{Decoder, ModelInfo, OpenOptions, Opened, Source, inspect_source, open_source};

fn open(path: &Path) -> Result<Opened> {
    open_with(path, OpenOptions::default())
}

fn open_with(path: &Path, options: OpenOptions<'_>) -> Result<Opened> {
    open_source(Source::open(path)?, options)
}

fn inspect(path: &Path) -> Result<ModelInfo> {
    inspect_source(&Source::open(path)?)
}

/// The logits of the last token of `ids`, and the residual stream after each layer.
fn walk(model: &Decoder, ids: &[u32]) -> (Vec<f32>, Vec<Tensor>) {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let (logits, outputs) = walk_at(model, ids, &positions);
    (logits[logits.len() - model.shape().vocab..].to_vec(), outputs)
}

/// The logits of every token at its position, one after the other, and the residual streams.
fn walk_at(model: &Decoder, ids: &[u32], positions: &[u32]) -> (Vec<f32>, Vec<Tensor>) {
    let shape = model.shape();
    let rotaries = model.rotaries(positions[positions.len() - 1] as usize + 1);
    let mut x = model.embed(ids).unwrap();
    let mut outputs = Vec::new();
    for (l, layer) in shape.layers.iter().enumerate() {
        let angles = rotaries[layer.rotary].angles(positions, model.device()).unwrap();
        let projected = model.project(l, &x, Which::ALL).unwrap();
        let [q, k, v] = [projected.q, projected.k, projected.v].map(Option::unwrap);
        rotate(&q, &angles).unwrap();
        rotate(&k, &angles).unwrap();
        let by_head = |t: &Tensor| t.transpose(0, 1).unwrap().contiguous().unwrap(); // [kv_heads, rows, head_dim]
        let (k, v) = (by_head(&k), by_head(&v));
        let entries = Entries { k: &k, v: &v, positions, tags: &[] };
        let visibility = layer.window.map_or(Visibility::Causal, |width| Visibility::Window { width });
        let attended = attention(&q, positions, entries, shape.scale, visibility).unwrap();
        x = model.finish(l, &x, attended).unwrap();
        outputs.push(x.clone());
    }
    (model.head(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap(), outputs)
}

/// All rows of a matrix, one after the other.
fn floats(weight: &Weight) -> Vec<f32> {
    let mut values = vec![0f32; weight.rows() * weight.cols()];
    values.chunks_mut(weight.cols()).enumerate().for_each(|(row, out)| weight.dequantize_row(row, out).unwrap());
    values
}

fn argmax(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}
