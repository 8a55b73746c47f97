use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use skimlm_kernels::attention::{Visibility, attention};
use skimlm_kernels::cached;
use skimlm_kernels::keys::{Measure, measure};
use skimlm_kernels::rope::Rotary;
use skimlm_kernels::scores::{Form, Heads, scores};

use super::Bank;
use crate::error::{Code, Error, Result};
use crate::model::Shape;
use crate::selection::Selection;

/// The entries of one layer: one bank while all heads share them, one a kv head or one a query head
/// after a selection that differs by head.
#[derive(Debug)]
pub struct LayerCache {
    pub(super) banks: Vec<Bank>,
    heads: usize,
    kv_heads: usize,
    pub(super) scale: f32,
}

impl LayerCache {
    /// An empty layer, also of use on its own as the scratch memory of a filter pass.
    /// Errors as in [`KvCache::new`](super::KvCache::new).
    pub fn new(shape: &Shape, dtype: DType, device: &Device, capacity: usize) -> Result<Self> {
        let bank = Bank::new(shape.kv_heads, shape.head_dim, dtype, device, capacity)?;
        Ok(Self { banks: vec![bank], heads: shape.heads, kv_heads: shape.kv_heads, scale: shape.scale })
    }

    /// Entries that were made elsewhere and that all heads share: `k` and `v` `[kv_heads, entries, width]`.
    /// `ERR_INVALID_ARG` if they do not fit the model or each other.
    pub fn from_entries(shape: &Shape, k: Tensor, v: Tensor, positions: Vec<u32>, tags: Vec<u32>) -> Result<Self> {
        let (heads, _, width) = k.dims3()?;
        let dim = cached::dim(k.dtype(), width)?;
        if (heads, dim) != (shape.kv_heads, shape.head_dim) {
            let message = format!(
                "keys of {heads} heads of {dim} numbers; the model has {} of {}.",
                shape.kv_heads, shape.head_dim
            );
            return Err(Error::new(Code::InvalidArg, message));
        }
        let bank = Bank::from_entries(k, v, positions, tags)?;
        Ok(Self { banks: vec![bank], heads: shape.heads, kv_heads: shape.kv_heads, scale: shape.scale })
    }

    /// The banks: one, one a kv head, or one a query head.
    pub fn banks(&self) -> &[Bank] {
        &self.banks
    }

    /// Entries of the longest bank.
    pub fn len(&self) -> usize {
        self.banks.iter().map(Bank::len).max().unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of keys and values in use.
    pub fn bytes(&self) -> usize {
        self.banks.iter().map(Bank::bytes).sum()
    }

    /// Makes room for `rows` more entries at once. `ERR_OUT_OF_MEMORY` where a GPU has none.
    pub fn reserve(&mut self, rows: usize) -> Result<()> {
        self.banks.iter_mut().try_for_each(|bank| bank.reserve(bank.len() + rows))
    }

    /// Appends rotated keys `[rows, kv_heads, dim]` f32. Their values must follow before the layer attends.
    /// `ERR_INTERNAL` unless the positions go on ascending, one and a tag for each row.
    pub fn append_keys(&mut self, k: &Tensor, positions: &[u32], tags: &[u32]) -> Result<()> {
        let heads = self.heads_of_bank();
        for (i, bank) in self.banks.iter_mut().enumerate() {
            bank.append_keys(k, heads(i), positions, tags)?;
        }
        Ok(())
    }

    /// Appends values `[rows, kv_heads, dim]` f32 of entries whose keys are there; `ERR_INTERNAL` if they are not.
    pub fn append_values(&mut self, v: &Tensor) -> Result<()> {
        let heads = self.heads_of_bank();
        for (i, bank) in self.banks.iter_mut().enumerate() {
            bank.append_values(v, heads(i))?;
        }
        Ok(())
    }

    /// Attention of rotated queries `[rows, heads, dim]` over all entries they may see. `ERR_INTERNAL` while values are
    /// missing.
    pub fn attend(&self, q: &Tensor, positions: &[u32], visibility: Visibility) -> Result<Tensor> {
        joined(by_bank(&self.banks, q, |bank, q| {
            Ok(attention(q, positions, bank.entries()?, self.scale, visibility)?)
        })?)
    }

    /// The scores that rotated queries `[rows, heads, dim]` give every entry, one tensor
    /// `[rows, entries]` a bank. `scale`: none means the model's own.
    ///
    /// `ERR_NUMERICS` for NaN or infinity, `ERR_POLICY_UNSUPPORTED` where heads keep different entries and `heads` wants
    /// their scores combined.
    pub fn score(
        &self,
        q: &Tensor,
        positions: &[u32],
        scale: Option<f32>,
        form: Form,
        visibility: Visibility,
        heads: &Heads,
    ) -> Result<Vec<Tensor>> {
        let scale = scale.unwrap_or(self.scale);
        if self.banks.len() > 1 && !matches!(heads, Heads::Each | Heads::EachKv) {
            let message = "the heads of this layer keep different entries, so their scores cannot be combined.";
            return Err(Error::new(Code::PolicyUnsupported, message));
        }
        by_bank(&self.banks, q, |bank, q| Ok(scores(q, positions, bank.keys(), scale, form, visibility, heads)?))
    }

    /// What is measured of every key, one tensor `[kv_heads, entries]` f32 a bank, of one head where heads keep
    /// different entries. `ERR_NUMERICS` for a key that is NaN or infinite.
    pub fn measure(&self, what: Measure) -> Result<Vec<Tensor>> {
        self.banks.iter().map(|bank| Ok(measure(bank.keys(), what)?)).collect()
    }

    /// Drops all entries but the selected ones. Lists a head split the layer into banks.
    /// `ERR_INVALID_ARG` for an entry that is not there, `ERR_INTERNAL` unless there is a list for every head.
    pub fn keep(&mut self, selection: &Selection) -> Result<()> {
        if let Some(indices) = selection.as_shared() {
            return self.banks.iter_mut().try_for_each(|bank| bank.keep(indices));
        }
        let lists = selection.lists();
        if lists.len() != self.kv_heads && lists.len() != self.heads {
            let message = format!(
                "{} lists of entries for {} kv heads and {} query heads.",
                lists.len(),
                self.kv_heads,
                self.heads
            );
            return Err(Error::new(Code::Internal, message));
        }
        if let [shared] = self.banks.as_slice()
            && lists.len() > 1
        {
            let split = |(i, list): (usize, &Vec<u32>)| {
                let head = i * self.kv_heads / lists.len();
                shared.pick(head..head + 1, list)
            };
            self.banks = lists.iter().enumerate().map(split).collect::<Result<_>>()?;
            return Ok(());
        }
        if self.banks.len() != lists.len() {
            let message = format!("{} lists for {} separate banks.", lists.len(), self.banks.len());
            return Err(Error::new(Code::Internal, message));
        }
        self.banks.iter_mut().zip(lists).try_for_each(|(bank, list)| bank.keep(list))
    }

    /// Of the last `rows` entries of every bank, drops all but the selected ones, counted from the first of them; older
    /// entries stay. `ERR_INVALID_ARG` for an entry that is not there, `ERR_INTERNAL` for lists that differ by head.
    pub fn keep_of_rows(&mut self, selection: &Selection, rows: usize) -> Result<()> {
        let Some(list) = selection.as_shared() else {
            return Err(Error::new(Code::Internal, "rows of a pass are kept for all heads alike."));
        };
        self.banks.iter_mut().try_for_each(|bank| {
            let old = bank.len().saturating_sub(rows) as u32;
            bank.keep(&(0..old).chain(list.iter().map(|&i| i + old)).collect::<Vec<_>>())
        })
    }

    /// Moves the entries of every bank to the positions 0, 1, 2, ... and turns their keys with them. Fails only where a
    /// tensor operation does.
    pub fn renumber(&mut self, rotary: &Rotary) -> Result<()> {
        self.banks.iter_mut().try_for_each(|bank| bank.renumber(rotary))
    }

    /// An independent copy. `ERR_OUT_OF_MEMORY` where a GPU has no room for it.
    pub fn fork(&self) -> Result<Self> {
        let banks = self.banks.iter().map(Bank::fork).collect::<Result<_>>()?;
        Ok(Self { banks, ..*self })
    }

    /// The kv heads whose entries go into a bank.
    pub(super) fn heads_of_bank(&self) -> impl Fn(usize) -> Range<usize> + use<> {
        let (banks, kv_heads) = (self.banks.len(), self.kv_heads);
        move |bank| {
            if banks == 1 {
                return 0..kv_heads;
            }
            let head = bank * kv_heads / banks;
            head..head + 1
        }
    }
}

/// What `of` makes of each bank and of the query heads `[rows, heads / banks, dim]` that read it.
pub(super) fn by_bank<B>(banks: &[B], q: &Tensor, of: impl Fn(&B, &Tensor) -> Result<Tensor>) -> Result<Vec<Tensor>> {
    if let [bank] = banks {
        return Ok(vec![of(bank, q)?]);
    }
    let width = q.dims3()?.1 / banks.len();
    let part = |(i, bank): (usize, &B)| of(bank, &q.narrow(1, i * width, width)?.contiguous()?);
    banks.iter().enumerate().map(part).collect()
}

/// The heads of all banks beside each other.
pub(super) fn joined(mut parts: Vec<Tensor>) -> Result<Tensor> {
    match parts.len() {
        1 => Ok(parts.remove(0)),
        _ => Ok(Tensor::cat(&parts, 1)?),
    }
}
