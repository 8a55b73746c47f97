//! The selection kernels on borrowed typed arrays. JavaScript allocates `out` and never lets it
//! share memory with an input.

use napi_derive::napi;
use skimlm_core::{Code, Error, Result};
use skimlm_kernels::gather::rows_into;
use skimlm_kernels::scores::last_query;
use skimlm_kernels::select::{Edge, Pool, pool, ranked, top_k};

use crate::error::guarded;

/// The macro reads `&mut` as a class instance; behind a name it is a borrowed typed array.
type Out<'a, T> = &'a mut [T];

/// Fills `out` with the indices of its length's many largest scores, ascending or best first.
#[napi]
pub fn select_top_k(
    scores: &[f32],
    by_score: bool,
    #[napi(ts_arg_type = "Uint32Array")] out: Out<'_, u32>,
) -> napi::Result<()> {
    guarded(|| {
        let choose = if by_score { ranked } else { top_k };
        fill(out, &choose(scores, out.len())?)
    })
}

/// The moving average over an odd window; values outside count as 0.
#[napi(js_name = "avgPool1d")]
pub fn avg_pool_1d(
    x: &[f32],
    window: u32,
    #[napi(ts_arg_type = "Float32Array")] out: Out<'_, f32>,
) -> napi::Result<()> {
    guarded(|| fill(out, &pool(x, Pool::Avg { width: window as usize, edge: Edge::Zero })?))
}

/// Copies rows of `row_length` values.
#[napi]
pub fn gather_rows(
    src: &[f32],
    row_length: u32,
    rows: &[u32],
    #[napi(ts_arg_type = "Float32Array")] out: Out<'_, f32>,
) -> napi::Result<()> {
    let width = row_length as usize;
    guarded(|| Ok(rows_into(src, width, src.len().checked_div(width).unwrap_or(0), rows, out)?))
}

/// For each token the sum over query heads of `q_h . k`, with `k` `[kv_heads, tokens, dim]`.
#[napi]
pub fn score_last_query(
    q: &[f32],
    k: &[f32],
    kv_heads: u32,
    dim: u32,
    #[napi(ts_arg_type = "Float32Array")] out: Out<'_, f32>,
) -> napi::Result<()> {
    guarded(|| fill(out, &last_query(q, k, kv_heads as usize, dim as usize)?))
}

fn fill<T: Copy>(out: &mut [T], values: &[T]) -> Result<()> {
    if out.len() != values.len() {
        return Err(Error::new(
            Code::InvalidArg,
            format!("`out` has room for {} values, {} are wanted", out.len(), values.len()),
        ));
    }
    out.copy_from_slice(values);
    Ok(())
}
