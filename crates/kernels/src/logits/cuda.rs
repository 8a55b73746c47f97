use candle_core::{DType, Tensor};

use super::WORDS;
use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch, THREADS, require_f32, small};

/// Logits that are worth another block.
const SHARE: usize = 2048;

/// What `told` reads, `[WORDS]` u32; there is at least one logit.
pub(crate) fn top(gpu: &impl Gpu, logits: &Tensor) -> Result<Tensor> {
    require_f32("logits", &[logits])?;
    let count = logits.elem_count();
    let blocks = count.div_ceil(SHARE).clamp(1, 2 * gpu.processors());
    let parts = gpu.zeros((blocks, WORDS), DType::U32)?;
    let out = gpu.zeros(WORDS, DType::U32)?;
    let args = vec![Arg::In(logits), Arg::Out(&parts), Arg::U32(small("logits", "the vocabulary", count)?)];
    let shared = THREADS / 32 * (8 + 8 + 4);
    gpu.launch(Launch::new("logits_parts", [blocks, 1, 1], THREADS, args).with_shared(shared))?;
    let args = vec![Arg::In(&parts), Arg::Out(&out), Arg::U32(blocks as u32)];
    gpu.launch(Launch::new("logits_merge", [1, 1, 1], 32, args))?;
    Ok(out)
}
