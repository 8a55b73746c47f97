use candle_core::{DType, Tensor};

use super::{Measure, Sizes};
use crate::error::{Result, invalid};
use crate::gpu::{Arg, Gpu, Launch, THREADS, finite, name_of, small};

/// Entries that a warp takes before there are more blocks.
const EACH: usize = 4;

/// As the contract of `measure`, the answer as a tensor `[heads, entries]`.
pub(super) fn measure(gpu: &impl Gpu, k: &Tensor, sizes: Sizes, what: Measure) -> Result<Tensor> {
    let Sizes { heads, entries, capacity, dim } = sizes;
    let name = name_of("keys", k.dtype())?;
    let lengths = gpu.zeros((heads, entries), DType::F32)?;
    if heads * entries == 0 {
        return Ok(lengths);
    }
    // Flat indices of the answer are 32 bits.
    small("keys", "the number of keys", heads * entries)?;
    let warps = THREADS / 32;
    // A sum of directions for each warp.
    let shared = if what == Measure::Likeness { warps * dim * 4 } else { 0 };
    if shared > 96 * 1024 {
        return invalid("keys", format!("keys of {dim} numbers do not fit a GPU's shared memory"));
    }
    let blocks = entries.div_ceil(warps * EACH).min((gpu.processors() * 8).div_ceil(heads));
    let grid = [blocks, heads, 1];
    let counts = || -> Result<Vec<Arg<&Tensor>>> {
        Ok(vec![Arg::U32(entries as u32), Arg::U32(small("keys", "the capacity", capacity)?), Arg::U32(dim as u32)])
    };
    let bad = gpu.upload(vec![u32::MAX])?;
    let sums = match what {
        Measure::Length => None,
        Measure::Likeness => Some(gpu.zeros((blocks, heads, dim), DType::F32)?),
    };
    let mut args = vec![Arg::In(k), Arg::Out(&lengths), sums.as_ref().map_or(Arg::Null, Arg::Out), Arg::Out(&bad)];
    args.extend(counts()?);
    gpu.launch(Launch::new(format!("keys_lengths_{name}"), grid, THREADS, args).with_shared(shared))?;
    let out = match &sums {
        None => lengths.clone(),
        Some(sums) => {
            let out = gpu.zeros((heads, entries), DType::F32)?;
            let mut args = vec![Arg::In(k), Arg::In(&lengths), Arg::In(sums), Arg::Out(&out)];
            args.extend(counts()?);
            args.push(Arg::U32(blocks as u32));
            gpu.launch(Launch::new(format!("keys_likeness_{name}"), grid, THREADS, args).with_shared(dim * 4))?;
            out
        }
    };
    finite("keys", &lengths, &bad).map(|()| out)
}
