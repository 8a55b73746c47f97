use super::Pairing;

/// Inlined so that `cpu` can compile these loops for better processors.
#[inline(always)]
pub(super) fn rotate(x: &mut [f32], heads: usize, dim: usize, cos: &[f32], sin: &[f32], pairing: Pairing) {
    let rows = x.len() / (heads * dim).max(1);
    let half = cos.len() / rows.max(1);
    if half == 0 {
        return;
    }
    for ((row, cos), sin) in x.chunks_exact_mut(heads * dim).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half)) {
        for head in row.chunks_exact_mut(dim) {
            match pairing {
                Pairing::Half => {
                    let (first, second) = head.split_at_mut(half);
                    for (((a, b), &c), &s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
                    }
                }
                Pairing::Interleaved => {
                    for ((pair, &c), &s) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                        (pair[0], pair[1]) = (pair[0] * c - pair[1] * s, pair[1] * c + pair[0] * s);
                    }
                }
            }
        }
    }
}
