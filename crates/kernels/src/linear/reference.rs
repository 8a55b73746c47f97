use super::Weight;
use crate::error::Result;

/// One weight row at a time, dequantised, against every row of `x`.
pub(super) fn linear(x: &[f32], weight: &Weight, out: &mut [f32]) -> Result<()> {
    let mut row = vec![0f32; weight.cols()];
    for o in 0..weight.rows() {
        weight.dequantize_row(o, &mut row)?;
        for (x, out) in x.chunks_exact(weight.cols()).zip(out.chunks_exact_mut(weight.rows())) {
            out[o] = x.iter().zip(&row).map(|(a, b)| a * b).sum();
        }
    }
    Ok(())
}

/// Both products, then the activation.
pub(super) fn gated(x: &[f32], gate: &Weight, up: &Weight, out: &mut [f32]) -> Result<()> {
    let (mut gates, mut ups) = (vec![0f32; out.len()], vec![0f32; out.len()]);
    linear(x, gate, &mut gates)?;
    linear(x, up, &mut ups)?;
    crate::activation::reference::silu_mul(&gates, &ups, out);
    Ok(())
}

/// Row by row.
pub(super) fn embed(ids: &[u32], weight: &Weight, out: &mut [f32]) -> Result<()> {
    ids.iter()
        .zip(out.chunks_exact_mut(weight.cols()))
        .try_for_each(|(&id, row)| weight.dequantize_row(id as usize, row))
}
