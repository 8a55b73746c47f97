use candle_core::Tensor;

use crate::level::Level;
use crate::linear::{Activations, BlockType, Weight};
use crate::testing::flat;

/// The formats whose integers are bytes with a scale for every 32.
pub(in crate::linear) const BYTES: [BlockType; 7] = [
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Q8_0,
    BlockType::Q4K,
    BlockType::Q5K,
];

/// How a level multiplies some rows with a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::linear) enum Way {
    Numbers,
    Splits,
    Halves,
    /// Activations as integers up to this, weights' integers as they are.
    Parts(f32),
}

fn way(level: Level, rows: usize, weight: &Weight) -> Way {
    let bytes = BYTES.contains(&weight.dtype());
    if level == Level::Dotprod && rows >= 12 && bytes {
        return Way::Parts(if weight.activations() == Activations::Bits8 { 127.0 } else { 127.0 * 257.0 });
    }
    if level >= Level::Avx2 && rows == 1 && (bytes || weight.dtype() == BlockType::Q6K) {
        return Way::Parts(32767.0);
    }
    let Some(has_bytes) = level.integers().filter(|_| rows >= 12 && weight.dtype() != BlockType::F32) else {
        return Way::Numbers;
    };
    if level == Level::Amx && rows >= 24 {
        if bytes { Way::Parts(32767.0) } else { Way::Splits }
    } else if bytes && has_bytes && weight.activations() == Activations::Bits8 {
        Way::Parts(127.0)
    } else if weight.cols().is_multiple_of(32) {
        Way::Halves
    } else {
        Way::Numbers
    }
}

/// By how much each product may miss at a level.
pub(super) fn slack(level: Level, x: &Tensor, weight: &Weight) -> Vec<f32> {
    let (rows, cols) = x.dims2().unwrap();
    of_way(way(level, rows, weight), &flat(x), cols, weight)
}

/// By how much each product may miss: summation order; where numbers are sums of two bf16, what those leave
/// out; where activations alone are rounded, half a step of each one times its weight, counted from the middle
/// of its part; where weights are rounded too, half a step of each activation and three of each weight.
pub(in crate::linear) fn of_way(way: Way, x: &[f32], cols: usize, weight: &Weight) -> Vec<f32> {
    let peak = |part: &[f32]| part.iter().fold(0f32, |most, v| most.max(v.abs()));
    let sum = |all: &[f32]| all.iter().map(|v| v.abs()).sum::<f32>();
    // Relative to the peak: squares may overflow.
    let norm = |all: &[f32]| peak(all) * all.iter().map(|v| (v / peak(all).max(1e-30)).powi(2)).sum::<f32>().sqrt();
    let mut out = vec![0f32; x.len() / cols * weight.rows()];
    let mut row = vec![0f32; cols];
    for o in 0..weight.rows() {
        weight.dequantize_row(o, &mut row).unwrap();
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(weight.rows())) {
            let relative = if way == Way::Splits { 5e-5 } else { 4e-6 };
            let order: f32 = x.iter().zip(&row).map(|(x, w)| (x * w).abs()).sum::<f32>() * relative;
            out[o] = order
                + match way {
                    Way::Numbers | Way::Splits => 0.0,
                    Way::Parts(most) => (x.chunks(32).zip(row.chunks(32)))
                        .map(|(x, w)| peak(x) / (2.0 * most) * w.iter().map(|v| v.abs() + peak(w)).sum::<f32>())
                        .sum(),
                    // A slice's norm is that of the row at most. What bounds a block's numbers may be twice its peak.
                    Way::Halves => {
                        let (of_x, of_w) = (norm(x) / 46_000.0, (norm(&row) / 46_000.0).max(peak(&row) / 16_000.0));
                        0.51 * of_x * sum(&row) + 1.5 * of_w * sum(x) + of_x * of_w * cols as f32
                    }
                };
        }
    }
    out
}
