use candle_core::{DType, Tensor};

use super::Drawing;
use crate::error::{Result, invalid};
use crate::gpu::{Arg, Gpu, Launch, THREADS, small};
use crate::logits;

/// Threads of a block that draws.
const DRAWING: usize = super::WINDOW;

/// Shared memory of that block: sums of its warps, counters of a digit, what was found.
const SHARED: usize = 8 * (DRAWING / 32 + 512 + 2);

/// As the contract of `draw`, in the words that `told` reads; there is at least one logit.
///
/// What changes from draw to draw is on the device, u32: `recent` `[window]`, the tokens that the penalty applies to;
/// `randoms` `[draws, 2]`, of 64 bits, the lower half first; `at` `[1]`, which of them is taken.
pub(crate) fn draw(
    gpu: &impl Gpu,
    logits: &Tensor,
    how: &Drawing,
    [recent, randoms, at]: [&Tensor; 3],
) -> Result<Tensor> {
    let pick = logits::cuda::top(gpu, logits)?;
    let (all, window) = (logits.elem_count(), recent.elem_count());
    if all > super::MOST || window > DRAWING {
        return invalid(
            "draw",
            format!("{all} tokens, {window} of them recent, of at most {} and {DRAWING}", super::MOST),
        );
    }
    let count = small("draw", "the vocabulary", all)?;
    let (mut before, mut top) = (None, None);
    if how.penalty != 1.0 && window > 0 {
        let kept = gpu.zeros(window, DType::F32)?;
        let args = vec![
            Arg::Out(logits),
            Arg::In(recent),
            Arg::Out(&kept),
            Arg::U32(window as u32),
            Arg::U32(count),
            Arg::F64(how.penalty),
        ];
        gpu.launch(Launch::new("draw_penalize", [1, 1, 1], window.next_multiple_of(32), args))?;
        before = Some(kept);
        top = Some(logits::cuda::top(gpu, logits)?);
    }
    let weights = gpu.zeros((all, 2), DType::U32)?;
    let args = vec![
        Arg::In(logits),
        Arg::In(top.as_ref().unwrap_or(&pick)),
        Arg::Out(&weights),
        Arg::U32(count),
        Arg::F64(how.temperature),
    ];
    gpu.launch(Launch::new("draw_weights", [all.div_ceil(THREADS), 1, 1], THREADS, args))?;
    let top_k = if how.temperature == 0.0 { 1 } else { how.top_k.clamp(1, all) };
    let args = vec![
        Arg::In(&weights),
        Arg::In(logits),
        Arg::In(recent),
        before.as_ref().map_or(Arg::Null, Arg::In),
        Arg::In(randoms),
        Arg::In(at),
        Arg::Out(&pick),
        Arg::U32(count),
        Arg::U32(if before.is_some() { window as u32 } else { 0 }),
        Arg::U32(small("draw", "the number of draws", randoms.dims2()?.0)?),
        Arg::U32(top_k as u32),
        Arg::F64(how.top_p),
        Arg::U64(how.least()),
    ];
    gpu.launch(Launch::new("draw_pick", [1, 1, 1], DRAWING, args).with_shared(SHARED))?;
    Ok(pick)
}
