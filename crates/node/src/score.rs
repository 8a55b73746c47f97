use skimlm_core::{Code, Error, Result};

/// Adds up `q_h . k_(h / group)` over all heads: the scores are linear in the query, so the queries
/// of a group are added first and one product a kv head remains.
///
/// Shapes: `q` `[heads, dim]`, `k` `[kv_heads, out.len(), dim]`.
pub(crate) fn last_query(q: &[f32], k: &[f32], kv_heads: usize, dim: usize, out: &mut [f32]) -> Result<()> {
    let group =
        kv_heads.checked_mul(dim).filter(|&row| row > 0 && q.len().is_multiple_of(row)).map_or(0, |row| q.len() / row);
    let wanted = kv_heads.checked_mul(dim).and_then(|row| row.checked_mul(out.len()));
    if group == 0 || wanted != Some(k.len()) {
        return Err(Error::new(
            Code::InvalidArg,
            format!(
                "{} query values and {} key values do not make {kv_heads} kv heads of {dim} for {} tokens",
                q.len(),
                k.len(),
                out.len()
            ),
        ));
    }
    out.fill(0.0);
    if out.is_empty() {
        return Ok(());
    }
    for (queries, keys) in q.chunks_exact(group * dim).zip(k.chunks_exact(out.len() * dim)) {
        let mut sum = vec![0f32; dim];
        queries.chunks_exact(dim).for_each(|head| sum.iter_mut().zip(head).for_each(|(s, q)| *s += q));
        out.iter_mut().zip(keys.chunks_exact(dim)).for_each(|(score, key)| *score += dot(&sum, key));
    }
    Ok(())
}

/// Independent partial sums, so that the additions need not wait for one another.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    let (a_full, b_full) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a_full.remainder().iter().zip(b_full.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_full.zip(b_full) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
    }
    lanes.iter().sum::<f32>() + rest
}
