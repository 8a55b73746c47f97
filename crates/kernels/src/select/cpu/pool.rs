use super::super::{Edge, Pool};
use crate::level::Level;

/// Windows up to this width are combined neighbour by neighbour, in vectors.
const DIRECT: usize = 31;

/// Windows of any width in linear time.
pub(crate) fn pool(level: Level, scores: &[f32], pool: Pool) -> Vec<f32> {
    let mut out = vec![0f32; scores.len()];
    match pool {
        Pool::Avg { width, edge } => {
            windows(level, scores, width / 2, &mut out, 0.0, |a, b| a + b);
            let (len, reach) = (scores.len(), width / 2);
            for (i, o) in out.iter_mut().enumerate() {
                let inside = (i.saturating_add(reach).saturating_add(1)).min(len) - i.saturating_sub(reach);
                *o /= if edge == Edge::Zero { width } else { inside } as f32;
            }
        }
        Pool::Max { width } => {
            windows(level, scores, width / 2, &mut out, f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        }
    }
    out
}

/// `op` over each entry and `reach` neighbours on both sides, those outside the row left out.
fn windows(
    level: Level,
    scores: &[f32],
    reach: usize,
    out: &mut [f32],
    zero: f32,
    op: impl Fn(f32, f32) -> f32 + Copy,
) {
    // A window that reaches over the whole row from anywhere is no wider than twice the row.
    let reach = reach.min(scores.len());
    if 2 * reach < DIRECT {
        level.arch().dispatch(Slide { scores, reach, out, zero, op });
    } else {
        blocks(scores, reach, out, op);
    }
}

/// Narrow windows: one neighbour after the other over a piece of the row.
struct Slide<'a, F> {
    scores: &'a [f32],
    reach: usize,
    out: &'a mut [f32],
    zero: f32,
    op: F,
}

impl<F: Fn(f32, f32) -> f32> pulp::WithSimd for Slide<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { scores, reach, out, zero, op } = self;
        out.fill(zero);
        let len = scores.len();
        for start in (0..len).step_by(2048) {
            let end = (start + 2048).min(len);
            for shift in 0..=2 * reach {
                // Entry i takes scores[i + shift - reach].
                let first = start.max(reach.saturating_sub(shift));
                let last = end.min((len + reach).saturating_sub(shift));
                if first < last {
                    let from = &scores[first + shift - reach..last + shift - reach];
                    for (o, &s) in out[first..last].iter_mut().zip(from) {
                        *o = op(*o, s);
                    }
                }
            }
        }
    }
}

/// Wide windows: every window is the end of one block of its width and the start of the next, so
/// running results within blocks suffice (van Herk 1992; Gil and Werman 1993). Nothing is ever
/// subtracted, hence nothing cancels.
fn blocks(scores: &[f32], reach: usize, out: &mut [f32], op: impl Fn(f32, f32) -> f32) {
    let width = 2 * reach + 1;
    let (mut from, mut to) = (scores.to_vec(), scores.to_vec());
    for (from, to) in from.chunks_mut(width).zip(to.chunks_mut(width)) {
        for i in 1..from.len() {
            from[i] = op(from[i - 1], from[i]);
        }
        for i in (1..to.len()).rev() {
            to[i - 1] = op(to[i - 1], to[i]);
        }
    }
    for (i, o) in out.iter_mut().enumerate() {
        let last = (i + reach).min(scores.len() - 1);
        // A window cut off by an end of the row begins or ends with a block too.
        *o = match i.checked_sub(reach) {
            Some(first) if first / width == last / width => to[first],
            Some(first) => op(to[first], from[last]),
            None => from[last],
        };
    }
}
