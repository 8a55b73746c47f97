use candle_core::Tensor;

use super::{Measure, Sizes};
use crate::cached;
use crate::error::{Result, finite};
use crate::host::values;

pub(super) fn measure(k: &Tensor, sizes: Sizes, what: Measure) -> Result<Vec<f32>> {
    let Sizes { heads, entries, capacity, dim } = sizes;
    let k = cached::read(k)?;
    let k = values::<f32>("keys", &k)?;
    let key = |head: usize, e: usize| &k[(head * capacity + e) * dim..][..dim];
    let mut out = Vec::with_capacity(heads * entries);
    for head in 0..heads {
        out.extend((0..entries).map(|e| key(head, e).iter().map(|x| x * x).sum::<f32>().sqrt()));
    }
    // A key without a finite length would spoil the mean for all.
    finite("keys", &out)?;
    if what == Measure::Length {
        return Ok(out);
    }
    for (head, numbers) in out.chunks_exact_mut(entries.max(1)).enumerate() {
        let mut mean = vec![0f64; dim];
        for (e, &length) in numbers.iter().enumerate().filter(|(_, length)| **length > 0.0) {
            mean.iter_mut().zip(key(head, e)).for_each(|(mean, x)| *mean += f64::from(x / length) / entries as f64);
        }
        let size = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (e, number) in numbers.iter_mut().enumerate() {
            let product: f64 = mean.iter().zip(key(head, e)).map(|(mean, &x)| mean * f64::from(x)).sum();
            let of = size * f64::from(*number);
            *number = if of > 0.0 { (product / of) as f32 } else { 0.0 };
        }
    }
    Ok(out)
}
