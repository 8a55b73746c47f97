use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch, THREADS, require_f32};

pub(crate) fn add(gpu: &impl Gpu, y: &Tensor, x: &Tensor) -> Result<()> {
    require_f32("residual", &[y, x])?;
    let count = y.elem_count();
    let args = vec![Arg::Out(y), Arg::In(x), Arg::U64(count as u64)];
    gpu.launch(Launch::new("residual_add", [count.div_ceil(THREADS), 1, 1], THREADS, args))
}
