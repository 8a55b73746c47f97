use candle_core::{DType, Tensor};

use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch, THREADS, require_f32};

pub(crate) fn silu_mul(gpu: &impl Gpu, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    require_f32("silu_mul", &[gate, up])?;
    let (count, out) = (gate.elem_count(), gpu.zeros(gate.dims(), DType::F32)?);
    let args = vec![Arg::In(gate), Arg::In(up), Arg::Out(&out), Arg::U64(count as u64)];
    gpu.launch(Launch::new("silu_mul", [count.div_ceil(THREADS), 1, 1], THREADS, args))?;
    Ok(out)
}
