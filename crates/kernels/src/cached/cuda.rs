use std::ops::Range;

use candle_core::Tensor;

use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch, THREADS, name_of, require_f32, small};

/// As the contract of `write`; with `step` the rows go that much further on.
pub(crate) fn write(
    gpu: &impl Gpu,
    to: &Tensor,
    at: usize,
    x: &Tensor,
    heads: Range<usize>,
    step: Option<&Tensor>,
) -> Result<()> {
    require_f32("cache", &[x])?;
    let ((rows, all, dim), capacity) = (x.dims3()?, to.dims3()?.1);
    let count = rows * heads.len() * dim;
    let args = vec![
        Arg::In(x),
        Arg::Out(to),
        step.map_or(Arg::Null, Arg::In),
        Arg::U64(count as u64),
        Arg::U32(small("cache", "the number of heads", all)?),
        Arg::U32(heads.start as u32),
        Arg::U32(heads.len() as u32),
        Arg::U32(small("cache", "the head size", dim)?),
        Arg::U32(small("cache", "the capacity", capacity)?),
        Arg::U32(at as u32),
    ];
    let kernel = format!("cache_write_{}", name_of("cache", to.dtype())?);
    gpu.launch(Launch::new(kernel, [count.div_ceil(THREADS), 1, 1], THREADS, args))
}
