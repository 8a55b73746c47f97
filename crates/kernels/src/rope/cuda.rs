use candle_core::Tensor;

use super::{Angles, Pairing};
use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch, THREADS, require_f32, small};

pub(crate) fn rotate(gpu: &impl Gpu, x: &Tensor, angles: &Angles) -> Result<()> {
    require_f32("rope", &[x])?;
    let ((rows, heads, dim), half) = (x.dims3()?, angles.cos.dims2()?.1);
    let pairs = rows * heads * half;
    let args = vec![
        Arg::Out(x),
        Arg::In(&angles.cos),
        Arg::In(&angles.sin),
        Arg::U64(pairs as u64),
        Arg::U32(small("rope", "the number of heads", heads)?),
        Arg::U32(small("rope", "the head size", dim)?),
        Arg::U32(half as u32),
        Arg::U32(u32::from(angles.pairing == Pairing::Interleaved)),
    ];
    gpu.launch(Launch::new("rope", [pairs.div_ceil(THREADS), 1, 1], THREADS, args))
}
