use candle_core::{DType, Device, Tensor};
use skimlm_kernels::attention::Entries;
use skimlm_kernels::gather;
use skimlm_kernels::rope::{self, Rotary};
use skimlm_kernels::scores::Keys;

use crate::error::{Code, Error, Result};

/// Entries that some heads share: keys, values, positions and tags.
#[derive(Debug)]
pub struct Bank {
    k: Tensor, // (heads, capacity, dim)
    v: Tensor, // (heads, capacity, dim)
    positions: Vec<u32>,
    tags: Vec<u32>,
    /// Entries whose values are there. Keys come first: a filter pass never computes values.
    with_values: usize,
}

impl Bank {
    pub(super) fn new(heads: usize, dim: usize, dtype: DType, device: &Device, capacity: usize) -> Result<Self> {
        // Room for one entry at least: a GPU need not allocate nothing.
        let zeros = || Tensor::zeros((heads, capacity.max(1), dim), dtype, device);
        Ok(Self { k: zeros()?, v: zeros()?, positions: Vec::new(), tags: Vec::new(), with_values: 0 })
    }

    /// Entries made elsewhere: `k` and `v` `[heads, entries, dim]` of one type, a position and a tag each.
    pub(super) fn from_entries(k: Tensor, v: Tensor, positions: Vec<u32>, tags: Vec<u32>) -> Result<Self> {
        let (k, v) = (k.contiguous()?, v.contiguous()?);
        let entries = k.dims3()?.1;
        let ascending = positions.windows(2).all(|pair| pair[0] < pair[1]);
        if k.dims() != v.dims() || k.dtype() != v.dtype() || [positions.len(), tags.len()] != [entries; 2] || !ascending
        {
            let message = format!(
                "keys {:?} and values {:?} with {} positions and {} tags are no entries.",
                k.dims(),
                v.dims(),
                positions.len(),
                tags.len()
            );
            return Err(Error::new(Code::InvalidArg, message));
        }
        Ok(Self { k, v, positions, tags, with_values: entries })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Heads that share these entries.
    pub fn heads(&self) -> usize {
        self.k.dims()[0]
    }

    /// Position of each entry, ascending.
    pub fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Label of each entry.
    pub fn tags(&self) -> &[u32] {
        &self.tags
    }

    /// The keys, as scores want them.
    pub fn keys(&self) -> Keys<'_> {
        Keys { k: &self.k, positions: &self.positions }
    }

    /// Keys and values, as attention wants them.
    pub fn entries(&self) -> Result<Entries<'_>> {
        if self.with_values != self.len() {
            let message = format!("{} entries, but values of {} only.", self.len(), self.with_values);
            return Err(Error::new(Code::Internal, message));
        }
        Ok(Entries { k: &self.k, v: &self.v, positions: &self.positions, tags: &self.tags })
    }

    /// The rotated keys of one head, `[entries, dim]`, for policies that look at them.
    pub fn keys_of(&self, head: usize) -> Result<Tensor> {
        Ok(self.k.get(head)?.narrow(0, 0, self.len())?)
    }

    /// Whether all keys and values are finite.
    pub(super) fn is_finite(&self) -> Result<bool> {
        // Neither an infinity nor a NaN is lost in a sum; one of finite halves stays far below f32's limit.
        let finite = |of: &Tensor, rows: usize| -> Result<bool> {
            Ok(of.narrow(1, 0, rows)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?.is_finite())
        };
        Ok(finite(&self.k, self.len())? && finite(&self.v, self.with_values)?)
    }

    /// Appends keys `[heads, rows, dim]` of the cache's type.
    pub(super) fn append_keys(&mut self, k: &Tensor, positions: &[u32], tags: &[u32]) -> Result<()> {
        if let (Some(&last), Some(&first)) = (self.positions.last(), positions.first())
            && first <= last
        {
            return Err(Error::new(Code::Internal, format!("position {first} appended behind {last}.")));
        }
        let start = self.len();
        if start + positions.len() > self.k.dims()[1] {
            // Doubling keeps token-by-token appending cheap.
            self.reserve((start + positions.len()).max(2 * start))?;
        }
        self.k.slice_set(k, 1, start)?;
        self.positions.extend_from_slice(positions);
        self.tags.extend_from_slice(tags);
        Ok(())
    }

    /// Appends the values of entries whose keys are there.
    pub(super) fn append_values(&mut self, v: &Tensor) -> Result<()> {
        let rows = v.dims()[1];
        if self.with_values + rows > self.len() {
            return Err(Error::new(Code::Internal, "values appended before their keys."));
        }
        self.v.slice_set(v, 1, self.with_values)?;
        self.with_values += rows;
        Ok(())
    }

    /// A bank of the head `head` alone with the entries `indices`.
    pub(super) fn pick(&self, heads: std::ops::Range<usize>, indices: &[u32]) -> Result<Self> {
        if let Some(&bad) = indices.iter().find(|&&i| i as usize >= self.len()) {
            return Err(Error::invalid_option("entries", bad, format!("below the {} entries", self.len())));
        }
        let values = indices.iter().take_while(|&&i| (i as usize) < self.with_values).count();
        let mut picked = gather::entries(&[&self.k, &self.v], heads, indices, None)?.into_iter();
        let (Some(k), Some(v)) = (picked.next(), picked.next()) else {
            return Err(Error::new(Code::Internal, "keys and values went in, and fewer tensors came out."));
        };
        let at = |from: &[u32]| indices.iter().map(|&i| from[i as usize]).collect();
        Ok(Self { k, v, positions: at(&self.positions), tags: at(&self.tags), with_values: values })
    }

    /// Rotations add up, so a key that moves from position p to q turns by q - p.
    pub(super) fn renumber(&mut self, rotary: &Rotary) -> Result<()> {
        let n = self.len();
        let moves: Vec<i64> = (0..).zip(&self.positions).map(|(new, &old)| new - i64::from(old)).collect();
        if moves.iter().all(|&by| by == 0) {
            return Ok(());
        }
        let turned = rope::turned(&self.k.narrow(1, 0, n)?, &rotary.turns(&moves, self.k.device())?)?;
        self.k.slice_set(&turned, 1, 0)?;
        self.positions = (0..n as u32).collect();
        Ok(())
    }

    pub(super) fn fork(&self) -> Result<Self> {
        Ok(Self {
            k: self.k.copy()?,
            v: self.v.copy()?,
            positions: self.positions.clone(),
            tags: self.tags.clone(),
            with_values: self.with_values,
        })
    }

    /// Makes room for `wanted` entries in all.
    pub(super) fn reserve(&mut self, wanted: usize) -> Result<()> {
        let (heads, capacity, dim) = self.k.dims3()?;
        if wanted <= capacity {
            return Ok(());
        }
        for tensor in [&mut self.k, &mut self.v] {
            let new = Tensor::zeros((heads, wanted, dim), tensor.dtype(), tensor.device())?;
            if capacity > 0 {
                new.slice_set(tensor, 1, 0)?;
            }
            *tensor = new;
        }
        Ok(())
    }
}
