use candle_core::{DType, Tensor};

use super::{Choice, Edge, Kept, Pool};
use crate::error::{Error, Result};
use crate::gpu::{Arg, Gpu, Launch, THREADS, require_f32, small};

/// Counters of a row: three histograms, and how many blocks have come to a meeting.
const COUNTERS: usize = 3 * 2048 + 1;

/// Entries that are worth another block.
const SHARE: usize = 1024;

/// As the contract of `select`; the pool's width is odd, and there are rows and entries.
pub(crate) fn select(gpu: &impl Gpu, scores: &Tensor, choice: &Choice) -> Result<Vec<Kept>> {
    require_f32("select", &[scores])?;
    let (rows, entries) = scores.dims2()?;
    let count = small("select", "the number of entries", entries)?;
    let pins = choice.pinned.iter().filter(|&&pinned| pinned).count();
    let (free, k) = (entries - pins, choice.k.min(entries - pins));
    let room = pins + k;
    let (kind, width) = match choice.pool {
        None => (0, 1),
        Some(Pool::Avg { width, edge: Edge::Zero }) => (1, width),
        Some(Pool::Avg { width, edge: Edge::Valid }) => (2, width),
        Some(Pool::Max { width }) => (3, width),
    };
    let pinned = match pins {
        0 => None,
        _ => Some(gpu.upload(choice.pinned.iter().map(|&pinned| u32::from(pinned)).collect())?),
    };
    // All blocks of a launch must be resident: at least one a multiprocessor is.
    let blocks = entries.div_ceil(SHARE).clamp(1, gpu.processors());
    let at_once = (gpu.processors() / blocks).max(1);
    let (mut all, mut first) = (Vec::with_capacity(rows), 0);
    while first < rows {
        let many = at_once.min(rows - first);
        let pooled = gpu.zeros((many, entries), DType::F32)?;
        let indices = gpu.zeros((many, room.max(1)), DType::U32)?;
        let bad = gpu.upload(vec![u32::MAX; 2 * many])?;
        let work = gpu.zeros(many * (COUNTERS + 2 * blocks), DType::U32)?;
        let part = scores.narrow(0, first, many)?;
        let args = vec![
            Arg::In(&part),
            pinned.as_ref().map_or(Arg::Null, Arg::In),
            Arg::Out(&pooled),
            Arg::Out(&indices),
            Arg::Out(&bad),
            Arg::Out(&work),
            Arg::U32(count),
            Arg::U32(kind),
            Arg::U32(u32::try_from(width).unwrap_or(u32::MAX)),
            Arg::U32(k as u32),
            Arg::U32(free as u32),
            Arg::U32(room.max(1) as u32),
        ];
        let launch = Launch::new("select_top", [blocks, many, 1], THREADS, args).with_shared((2048 + 32) * 4);
        gpu.launch(Launch { cooperative: true, ..launch })?;
        if let Some((row, index)) = bad.to_vec1::<u32>()?.iter().enumerate().find(|(_, index)| **index != u32::MAX) {
            let (of, index) = (if row % 2 == 0 { &part } else { &pooled }, *index as usize);
            let value = of.get(row / 2)?.get(index)?.to_scalar::<f32>()?;
            return Err(Error::NonFinite { op: "select", index, value });
        }
        for (mut indices, scores) in indices.to_vec2::<u32>()?.into_iter().zip(pooled.to_vec2::<f32>()?) {
            indices.truncate(room);
            all.push(Kept { indices, scores });
        }
        first += many;
    }
    Ok(all)
}
