//! What keys say of their entries by themselves: no query is asked.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

use crate::cached;
use crate::error::{Result, invalid};
use crate::scores::Keys;

/// What is asked of every key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Its Euclidean length.
    Length,
    /// Its cosine with the mean of its head's keys, each of them divided by its length first (KeyDiff,
    /// arXiv 2504.15364).
    Likeness,
}

/// One number for every key of every head.
///
/// Shapes: `keys` `[kv_heads, capacity, width]` of a type of [`cached`]; the result is `[kv_heads, entries]`
/// f32 on the device of the keys. Lengths are f32, so a key below 1e-23 has none; the mean is taken in f64 by the plain
/// loop and in f32 by the others. A key without a length has no
/// part in the mean and is like nothing, 0; so is every key where the mean has no length. Implementations agree
/// on lengths within 1e-5 of them, and on likeness within 1e-4 unless the keys cancel in the mean. A key that is
/// NaN, infinite or longer than 1e19 is an error that names it. Not on a GPU: blocks of 8 bits, and the likeness of
/// keys of more than 3072 numbers.
pub fn measure(keys: Keys<'_>, what: Measure) -> Result<Tensor> {
    let sizes = Sizes::of(keys)?;
    on_gpu!(keys.k, |gpu| cuda::measure(gpu, keys.k, sizes, what));
    let out = if crate::reference_forced() {
        reference::measure(keys.k, sizes, what)?
    } else {
        cpu::measure(crate::level::current(), keys.k, sizes, what)?
    };
    Ok(Tensor::from_vec(out, (sizes.heads, sizes.entries), keys.k.device())?)
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    entries: usize,
    capacity: usize,
    dim: usize,
}

impl Sizes {
    fn of(keys: Keys<'_>) -> Result<Self> {
        let (heads, capacity, width) = keys.k.dims3()?;
        let (entries, dim) = (keys.positions.len(), cached::dim(keys.k.dtype(), width)?);
        if dim == 0 || entries > capacity {
            return invalid("keys", format!("k is {:?} with {entries} entries", keys.k.dims()));
        }
        Ok(Self { heads, entries, capacity, dim })
    }
}
