use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch, THREADS, require_f32, small};

/// Shapes as in `rms_norm`; with `added`, `x` becomes `x + added` first.
pub(crate) fn rms_norm(
    gpu: &impl Gpu,
    x: &Tensor,
    added: Option<&Tensor>,
    weight: &Tensor,
    eps: f32,
) -> Result<Tensor> {
    require_f32("rms_norm", &[x, weight, added.unwrap_or(x)])?;
    let width = weight.elem_count();
    let out = gpu.zeros(x.dims(), DType::F32)?;
    let rows = x.elem_count() / width.max(1);
    // A block as wide as the row needs it: heads are narrow.
    let threads = width.next_multiple_of(32).min(THREADS);
    let args = vec![
        if added.is_some() { Arg::Out(x) } else { Arg::In(x) },
        added.map_or(Arg::Null, Arg::In),
        Arg::In(weight),
        Arg::Out(&out),
        Arg::U32(small("rms_norm", "the width", width)?),
        Arg::F32(eps),
    ];
    gpu.launch(Launch::new("rms_norm", [rows, 1, 1], threads, args).with_shared(threads / 32 * 4))?;
    Ok(out)
}
