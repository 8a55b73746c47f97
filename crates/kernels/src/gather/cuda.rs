use std::ops::Range;

use candle_core::Tensor;

use crate::error::{Result, invalid};
use crate::gpu::{Arg, Gpu, Launch, TABLE, THREADS, in_pieces, name_of, small};

/// The rows `indices` of `x` `[count, ...]`.
pub(crate) fn rows(gpu: &impl Gpu, x: &Tensor, indices: &[u32]) -> Result<Tensor> {
    let (count, width) = (x.dims()[0], x.dims()[1..].iter().product::<usize>());
    let mut shape = x.dims().to_vec();
    shape[0] = indices.len();
    let x = x.reshape((1, count, width))?;
    let found = entries(gpu, &[&x], 0..1, indices)?;
    match found.into_iter().next() {
        Some(rows) => Ok(rows.reshape(shape)?),
        None => invalid("gather", "no result".into()),
    }
}

/// As the contract of `gather::entries`.
pub(crate) fn entries(gpu: &impl Gpu, of: &[&Tensor], heads: Range<usize>, indices: &[u32]) -> Result<Vec<Tensor>> {
    let Some(first) = of.first() else { return Ok(Vec::new()) };
    let (_, capacity, dim) = first.dims3()?;
    if let Some(bad) = indices.iter().find(|&&i| i as usize >= capacity) {
        return invalid("gather", format!("row {bad} of {capacity} rows"));
    }
    let dtype = first.dtype();
    let shape = (heads.len(), indices.len(), dim);
    let out = of.iter().map(|_| gpu.zeros(shape, dtype)).collect::<Result<Vec<_>>>()?;
    if indices.is_empty() || heads.is_empty() || dim == 0 {
        return Ok(out);
    }
    let list = gpu.upload(indices.to_vec())?;
    let whole = of.iter().all(|tensor| in_pieces(tensor, dim));
    let name = name_of("gather", dtype)?;
    let (kernel, pieces) = match whole {
        true => (format!("gather_{name}"), dim * dtype.size_in_bytes() / 16),
        false => (format!("gather_{name}_single"), dim),
    };
    for (from, to) in of.chunks(TABLE).zip(out.chunks(TABLE)) {
        let args = vec![
            Arg::Ins(from.to_vec()),
            Arg::Outs(to.iter().collect()),
            Arg::In(&list),
            Arg::U32(small("gather", "the number of heads", heads.len())?),
            Arg::U32(heads.start as u32),
            Arg::U32(small("gather", "the number of rows", capacity)?),
            Arg::U32(indices.len() as u32),
            Arg::U32(small("gather", "the width", dim)?),
        ];
        let blocks = (indices.len() * pieces).div_ceil(THREADS);
        gpu.launch(Launch::new(kernel.as_str(), [blocks, from.len() * heads.len(), 1], THREADS, args))?;
    }
    Ok(out)
}
