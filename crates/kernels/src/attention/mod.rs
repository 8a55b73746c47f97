//! Attention of some query rows over cached entries: causal by position, grouped-query, rectangular.

mod ahead;
mod anchored;
#[cfg(any(feature = "cuda", test))]
mod chunked;
pub(crate) mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
mod reference;
#[cfg(test)]
mod tests;

pub use ahead::{Reach, attention_ahead};

use candle_core::Tensor;

use crate::cached;
use crate::error::{Result, invalid};

/// Which entries a row may see. Position decides, never an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Visibility {
    /// Entries at positions up to the row's own.
    #[default]
    Causal,
    /// Entries at the row's own position and the `width - 1` positions before it.
    Window {
        /// Positions a row sees, its own included.
        width: u32,
    },
    /// Anchors (AnLLM, arXiv 2402.07616): a row sees the entries of its own segment and, unless it is an
    /// anchor itself, every earlier entry with a tag. An entry tagged [`ANCHOR`] ends its segment; other
    /// tags mark entries that stay visible and end nothing. A row is what its own entry is.
    Anchored {
        /// As in `Window`, besides; none: no limit.
        width: Option<u32>,
    },
}

/// The tag of an entry that ends a segment.
pub const ANCHOR: u32 = 1;
/// The tag of an entry that stays visible and ends no segment.
pub const PINNED: u32 = 2;

impl Visibility {
    /// The entries a row at `position` sees, of entries at these positions, ascending; under anchors the
    /// entries among which they are.
    pub fn range(self, position: u32, entries: &[u32]) -> std::ops::Range<usize> {
        let end = entries.partition_point(|&p| p <= position);
        match self.width() {
            None => 0..end,
            Some(width) => {
                let start = entries.partition_point(|&p| p.saturating_add(width) <= position);
                start.min(end)..end
            }
        }
    }

    /// Positions a row sees at most, its own included.
    pub fn width(self) -> Option<u32> {
        match self {
            Self::Causal => None,
            Self::Window { width } => Some(width),
            Self::Anchored { width } => width,
        }
    }

    /// The same within a window.
    #[must_use]
    pub fn within(self, width: u32) -> Self {
        let width = self.width().map_or(width, |own| own.min(width));
        match self {
            Self::Causal | Self::Window { .. } => Self::Window { width },
            Self::Anchored { .. } => Self::Anchored { width: Some(width) },
        }
    }

    /// Whether a row at `position` sees the entry of this index: the definition, pair by pair.
    pub fn sees(self, position: u32, entry: usize, entries: Entries<'_>) -> bool {
        let Entries { positions, tags, .. } = entries;
        if !self.range(position, positions).contains(&entry) {
            return false;
        }
        let tag = |i: usize| tags.get(i).copied().unwrap_or(0);
        let own = positions.partition_point(|&p| p < position);
        let is_anchor = positions.get(own) == Some(&position) && tag(own) == ANCHOR;
        let same_segment = (entry..own).all(|i| tag(i) != ANCHOR);
        !matches!(self, Self::Anchored { .. }) || same_segment || (tag(entry) != 0 && !is_anchor)
    }
}

/// The keys and values of heads that share their entries.
#[derive(Debug, Clone, Copy)]
pub struct Entries<'a> {
    /// Keys, already rotated: `[heads, capacity, width]`, contiguous, of a type of [`crate::cached`].
    pub k: &'a Tensor,
    /// Values, shaped and typed as `k`.
    pub v: &'a Tensor,
    /// Position of each entry, strictly ascending; its length is the number of entries in use.
    pub positions: &'a [u32],
    /// Tag of each entry, which [`Visibility::Anchored`] reads; none: no entry has one.
    pub tags: &'a [u32],
}

/// `softmax(scale * q k^T) v` over the entries each row may see.
///
/// Shapes: `q` `[rows, query_heads, dim]` f32, rotated; entries `[kv_heads, capacity, dim]`;
/// the result is `[rows, query_heads, dim]` f32. Query head `h` reads kv head
/// `h / (query_heads / kv_heads)`. `positions` holds each row's position. A row that sees nothing
/// gets zeros. A NaN among what a row sees makes its output NaN. Nothing of size `rows x entries` is
/// ever allocated.
///
/// Sums and the softmax are f32 whatever the entries' type; implementations agree within 1e-5 of the
/// largest value (2e-8 an entry where that is more), with two exceptions. At [`crate::Level::Avx2`],
/// [`crate::Level::Vnni`] and [`crate::Level::Amx`], for entries of f16, bf16 or 8-bit blocks, even `dim` and 64 rows
/// or more (times query heads of a kv head), queries, keys and values are rounded to 16 bits, more finely than f16
/// rounds vectors of like numbers. Logits then stay within 4e-5 of the largest `scale |q| |k|`, a weight within 2^-16
/// of the largest of its 64 entries, and outputs, of the largest value, within the sum of that logit error and 2e-4
/// (1e-3 where the errors of 64 weights all point one way). Infinities become NaN there.
///
/// On a GPU, for entries of f16 or bf16 with heads of 64, 96 or 128 numbers, queries and weights are rounded to the
/// type of the entries: logits stay within 2^-11 (f16) or 2^-8 (bf16) of the largest `scale |q| |k|`, and outputs
/// within what such logits move and the same share of the largest value.
///
/// Not on a GPU: entries of 8-bit blocks.
pub fn attention(
    q: &Tensor,
    positions: &[u32],
    entries: Entries<'_>,
    scale: f32,
    visibility: Visibility,
) -> Result<Tensor> {
    let shape = check("attention", q, positions, entries.k, entries.positions)?;
    if entries.v.dims() != entries.k.dims() || entries.v.dtype() != entries.k.dtype() {
        return invalid("attention", format!("k is {:?}, v is {:?}", entries.k.dims(), entries.v.dims()));
    }
    if !entries.tags.is_empty() && entries.tags.len() != entries.positions.len() {
        let what = format!("{} tags for {} entries", entries.tags.len(), entries.positions.len());
        return invalid("attention", what);
    }
    on_gpu!(q, |gpu| cuda::attention(gpu, q, positions, entries, scale, visibility, shape));
    let out = if crate::reference_forced() {
        reference::attention(q, positions, entries, scale, visibility, shape)?
    } else if let Visibility::Anchored { width } = visibility {
        anchored::attention(q, positions, entries, scale, width, shape)?
    } else {
        cpu::attention(crate::level::current(), q, positions, entries, scale, visibility, shape)?
    };
    Ok(Tensor::from_vec(out, q.dims(), q.device())?)
}

/// The sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) capacity: usize,
    pub(crate) dim: usize,
}

impl Sizes {
    /// Query heads that share a kv head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

pub(crate) fn check(op: &'static str, q: &Tensor, rows: &[u32], k: &Tensor, entries: &[u32]) -> Result<Sizes> {
    let ((n, heads, dim), (kv_heads, capacity, width)) = (q.dims3()?, k.dims3()?);
    let key_dim = cached::dim(k.dtype(), width)?;
    let whole_heads = dim > 0 && dim == key_dim && kv_heads > 0 && heads > 0 && heads % kv_heads == 0;
    if !whole_heads || n != rows.len() || entries.len() > capacity {
        return invalid(
            op,
            format!(
                "q is {:?} with {} positions, k is {:?} with {} entries",
                q.dims(),
                rows.len(),
                k.dims(),
                entries.len()
            ),
        );
    }
    Ok(Sizes { rows: n, heads, kv_heads, capacity, dim })
}
