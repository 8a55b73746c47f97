use candle_core::Tensor;

use super::Steps;
use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch};
use crate::logits;

/// As the contract of [`Steps::turn`].
pub(crate) fn turn(gpu: &impl Gpu, steps: &Steps, logits: &Tensor) -> Result<()> {
    let top = logits::cuda::top(gpu, logits)?;
    let args = vec![
        Arg::In(&top),
        Arg::Out(&steps.told),
        Arg::Out(&steps.token),
        Arg::Out(&steps.at),
        Arg::U32(steps.most as u32),
    ];
    gpu.launch(Launch::new("steps_turn", [1, 1, 1], 32, args))
}
