use super::{Edge, Pool};

pub(super) fn pool(scores: &[f32], pool: Pool) -> Vec<f32> {
    let (Pool::Avg { width, .. } | Pool::Max { width }) = pool;
    let reach = width / 2;
    let window = |i: usize| &scores[i.saturating_sub(reach)..(i + reach + 1).min(scores.len())];
    (0..scores.len())
        .map(|i| match pool {
            Pool::Avg { edge: Edge::Zero, .. } => window(i).iter().sum::<f32>() / width as f32,
            Pool::Avg { edge: Edge::Valid, .. } => window(i).iter().sum::<f32>() / window(i).len() as f32,
            Pool::Max { .. } => window(i).iter().copied().fold(f32::NEG_INFINITY, f32::max),
        })
        .collect()
}

/// A full stable sort: descending scores, equal ones in index order.
pub(super) fn top_k(scores: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    // `partial_cmp` treats 0.0 and -0.0 as the tie they are; NaN has been refused by the caller.
    order.sort_by(|&a, &b| scores[b as usize].partial_cmp(&scores[a as usize]).unwrap_or(std::cmp::Ordering::Equal));
    order.truncate(k);
    order.sort_unstable();
    order
}
