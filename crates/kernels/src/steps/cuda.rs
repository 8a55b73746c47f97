use candle_core::Tensor;

use super::{Drawn, Steps};
use crate::error::Result;
use crate::gpu::{Arg, Gpu, Launch, small};
use crate::{draw, logits};

/// As the contract of [`Steps::turn`].
pub(crate) fn turn(gpu: &impl Gpu, steps: &Steps, logits: &Tensor) -> Result<()> {
    let (pick, recent) = match &steps.drawn {
        None => (logits::cuda::top(gpu, logits)?, None),
        Some(Drawn { how, recent, randoms }) => {
            (draw::cuda::draw(gpu, logits, how, [recent, randoms, &steps.at])?, Some(recent))
        }
    };
    let args = vec![
        Arg::In(&pick),
        Arg::Out(&steps.told),
        Arg::Out(&steps.token),
        Arg::Out(&steps.at),
        recent.map_or(Arg::Null, Arg::Out),
        Arg::U32(steps.most as u32),
        Arg::U32(small("steps", "the window", recent.map_or(1, Tensor::elem_count))?),
    ];
    gpu.launch(Launch::new("steps_turn", [1, 1, 1], 32, args))
}
