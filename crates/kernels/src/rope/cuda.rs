use candle_core::Tensor;

use super::{Angles, Pairing};
use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch, THREADS, require_f32, small};

/// With `step` the angles are a table, of which the row of that number is the first one's.
pub(crate) fn rotate(gpu: &impl Gpu, x: &Tensor, angles: &Angles, step: Option<&Tensor>) -> Result<()> {
    require_f32("rope", &[x])?;
    let ((rows, heads, dim), half) = (x.dims3()?, angles.cos.dims2()?.1);
    let pairs = rows * heads * half;
    let args = vec![
        Arg::Out(x),
        Arg::In(&angles.cos),
        Arg::In(&angles.sin),
        step.map_or(Arg::Null, Arg::In),
        Arg::U64(pairs as u64),
        Arg::U32(small("rope", "the number of heads", heads)?),
        Arg::U32(small("rope", "the head size", dim)?),
        Arg::U32(half as u32),
        Arg::U32(u32::from(angles.pairing == Pairing::Interleaved)),
    ];
    gpu.launch(Launch::new("rope", [pairs.div_ceil(THREADS), 1, 1], THREADS, args))
}
