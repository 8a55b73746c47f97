use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use skimlm_kernels::attention::Entries;
use skimlm_kernels::cached;
use skimlm_kernels::gather;
use skimlm_kernels::rope::{self, Rotary};
use skimlm_kernels::scores::Keys;

use crate::error::{Code, Error, Result};

/// One entry of so many, at most, may go without the memory being freed.
const FEW: usize = 8;

/// Entries that some heads share: keys, values, positions and tags.
#[derive(Debug)]
pub struct Bank {
    pub(super) k: Tensor, // (heads, capacity, width)
    pub(super) v: Tensor, // (heads, capacity, width)
    positions: Vec<u32>,
    tags: Vec<u32>,
    /// Entries whose values are there. Keys come first: a filter pass never computes values.
    with_values: usize,
}

impl Bank {
    pub(super) fn new(heads: usize, dim: usize, dtype: DType, device: &Device, capacity: usize) -> Result<Self> {
        // Room for one entry at least: a GPU need not allocate nothing.
        let width = cached::width(dtype, dim)?;
        let empty = || cached::empty((heads, capacity.max(1), width), dtype, device);
        Ok(Self { k: empty()?, v: empty()?, positions: Vec::new(), tags: Vec::new(), with_values: 0 })
    }

    /// Entries made elsewhere: `k` and `v` `[heads, entries, width]` of one type, a position and a tag each.
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

    /// Keys and values, as attention wants them. `ERR_INTERNAL` while values are missing.
    pub fn entries(&self) -> Result<Entries<'_>> {
        if self.with_values != self.len() {
            let message = format!("{} entries, but values of {} only.", self.len(), self.with_values);
            return Err(Error::new(Code::Internal, message));
        }
        Ok(Entries { k: &self.k, v: &self.v, positions: &self.positions, tags: &self.tags })
    }

    /// Bytes of keys and values in use.
    pub(super) fn bytes(&self) -> usize {
        2 * self.len() * self.heads() * self.k.dims()[2] * self.k.dtype().size_in_bytes()
    }

    /// Whether all keys and values are finite.
    pub(super) fn is_finite(&self) -> Result<bool> {
        // Neither an infinity nor a NaN is lost in a sum; one of finite halves stays far below f32's limit.
        let finite = |of: &Tensor, rows: usize| -> Result<bool> {
            Ok(cached::read(&of.narrow(1, 0, rows)?)?.sum_all()?.to_scalar::<f32>()?.is_finite())
        };
        Ok(finite(&self.k, self.len())? && finite(&self.v, self.with_values)?)
    }

    /// Appends the keys of the heads `heads` of `k` `[rows, all heads, dim]` f32.
    pub(super) fn append_keys(
        &mut self,
        k: &Tensor,
        heads: Range<usize>,
        positions: &[u32],
        tags: &[u32],
    ) -> Result<()> {
        if let (Some(&last), Some(&first)) = (self.positions.last(), positions.first())
            && first <= last
        {
            return Err(Error::new(Code::Internal, format!("position {first} appended behind {last}.")));
        }
        let rows = k.dims3()?.0;
        let ascending = positions.windows(2).all(|pair| pair[0] < pair[1]);
        if [positions.len(), tags.len()] != [rows; 2] || !ascending {
            let (positions, tags) = (positions.len(), tags.len());
            let message =
                format!("{rows} keys need as many ascending positions and tags; {positions} and {tags} came.");
            return Err(Error::new(Code::Internal, message));
        }
        let start = self.len();
        if start + positions.len() > self.k.dims()[1] {
            // Doubling keeps token-by-token appending cheap.
            self.reserve((start + positions.len()).max(2 * start))?;
        }
        cached::write(&self.k, start, k, heads)?;
        self.positions.extend_from_slice(positions);
        self.tags.extend_from_slice(tags);
        Ok(())
    }

    /// Appends the values of entries whose keys are there.
    pub(super) fn append_values(&mut self, v: &Tensor, heads: Range<usize>) -> Result<()> {
        let rows = v.dims()[0];
        if self.with_values + rows > self.len() {
            return Err(Error::new(Code::Internal, "values appended before their keys."));
        }
        cached::write(&self.v, self.with_values, v, heads)?;
        self.with_values += rows;
        Ok(())
    }

    /// Takes an entry that has been written behind the others as its own.
    pub(super) fn note(&mut self, position: u32) -> Result<()> {
        let room = self.len() < self.k.dims()[1] && self.with_values == self.len();
        if !room || self.positions.last().is_some_and(|&last| last >= position) {
            let message = format!("position {position} noted behind {} entries.", self.len());
            return Err(Error::new(Code::Internal, message));
        }
        self.positions.push(position);
        self.tags.push(0);
        self.with_values += 1;
        Ok(())
    }

    /// Drops all entries but `indices`, ascending. Where few go, as at every step of a policy that evicts while it
    /// decodes, the rest moves down in the memory it has; else memory is freed.
    pub(super) fn keep(&mut self, indices: &[u32]) -> Result<()> {
        let (len, kept) = (self.len(), indices.len());
        let few = kept <= len && (len - kept) * FEW <= len;
        let inside = indices.last().is_none_or(|&last| (last as usize) < len);
        if !(few && inside && cached::close_up(&self.k, indices)? && cached::close_up(&self.v, indices)?) {
            *self = self.pick(0..self.heads(), indices)?;
            return Ok(());
        }
        self.with_values = indices.partition_point(|&i| (i as usize) < self.with_values);
        for list in [&mut self.positions, &mut self.tags] {
            for (to, &from) in indices.iter().enumerate() {
                list[to] = list[from as usize];
            }
            list.truncate(kept);
        }
        Ok(())
    }

    /// A bank of the heads `heads` alone with the entries `indices`.
    pub(super) fn pick(&self, heads: Range<usize>, indices: &[u32]) -> Result<Self> {
        if let Some(&bad) = indices.iter().find(|&&i| i as usize >= self.len()) {
            return Err(Error::invalid_option("entries", bad, format!("below the {} entries", self.len())));
        }
        let values = indices.iter().take_while(|&&i| (i as usize) < self.with_values).count();
        let mut picked = gather::entries(&[&self.k, &self.v], heads, indices)?.into_iter();
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
        let (heads, capacity, width) = self.k.dims3()?;
        if wanted <= capacity {
            return Ok(());
        }
        for tensor in [&mut self.k, &mut self.v] {
            let new = cached::empty((heads, wanted, width), tensor.dtype(), tensor.device())?;
            if capacity > 0 {
                new.slice_set(tensor, 1, 0)?;
            }
            *tensor = new;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(dtype: DType, rows: usize, values: usize) -> Bank {
        let mut bank = Bank::new(3, 32, dtype, &Device::Cpu, 7).unwrap();
        let x = Tensor::arange(0f32, (rows * 3 * 32) as f32, &Device::Cpu).unwrap().reshape((rows, 3, 32)).unwrap();
        let positions: Vec<u32> = (0..rows as u32).map(|i| 2 * i).collect();
        let tags: Vec<u32> = positions.iter().map(|p| p % 3).collect();
        bank.append_keys(&x, 0..3, &positions, &tags).unwrap();
        bank.append_values(&(x.narrow(0, 0, values).unwrap() * 0.5).unwrap(), 0..3).unwrap();
        bank
    }

    fn numbers(of: &Tensor, rows: usize) -> Vec<f32> {
        cached::read(&of.narrow(1, 0, rows).unwrap()).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn keeping_in_place_is_picking() {
        let most = 40u32;
        let without = |gone: &[u32]| (0..most).filter(|i| !gone.contains(i)).collect::<Vec<u32>>();
        let lists = [without(&[]), without(&[0]), without(&[39]), without(&[4, 5, 17]), without(&[0, 9, 20, 38, 39])];
        for dtype in [DType::F32, DType::F16, DType::BF16, cached::Q8_0] {
            for (list, values) in lists.iter().flat_map(|list| [(list, 40), (list, 17), (list, 0)]) {
                let mut bank = filled(dtype, most as usize, values);
                let room = bank.k.dims()[1];
                let want = bank.pick(0..3, list).unwrap();
                bank.keep(list).unwrap();
                assert_eq!(bank.k.dims()[1], room, "in place");
                assert_eq!(
                    (bank.positions(), bank.tags(), bank.with_values),
                    (want.positions(), want.tags(), want.with_values)
                );
                assert_eq!(numbers(&bank.k, bank.len()), numbers(&want.k, want.len()));
                assert_eq!(numbers(&bank.v, bank.with_values), numbers(&want.v, want.with_values));
            }
        }
    }

    #[test]
    fn positions_and_tags_go_with_their_rows() {
        let mut bank = filled(DType::F32, 3, 3);
        let x = Tensor::zeros((2, 3, 32), DType::F32, &Device::Cpu).unwrap();
        for (positions, tags) in
            [(&[9, 9][..], &[0, 0][..]), (&[9, 8], &[0, 0]), (&[4, 9], &[0, 0]), (&[9], &[0]), (&[9, 10], &[0])]
        {
            let error = bank.append_keys(&x, 0..3, positions, tags).unwrap_err();
            assert_eq!((error.code, bank.len()), (Code::Internal, 3), "{positions:?} {tags:?}");
        }
        bank.append_keys(&x, 0..3, &[9, 10], &[0, 0]).unwrap();
    }

    #[test]
    fn dropping_many_frees_their_memory() {
        let mut bank = filled(DType::F16, 40, 40);
        bank.keep(&[3, 30]).unwrap();
        assert_eq!((bank.k.dims()[1], bank.positions()), (2, [6, 60].as_slice()));
        assert!(filled(DType::F16, 40, 40).keep(&(1..41).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn blocks_of_8_bits_take_34_bytes_for_32_numbers() {
        assert_eq!(filled(cached::Q8_0, 40, 40).bytes(), 2 * 40 * 3 * 34);
        assert_eq!(filled(DType::F16, 40, 40).bytes(), 2 * 40 * 3 * 64);
        let mut bank = filled(cached::Q8_0, 40, 40);
        assert!(bank.is_finite().unwrap());
        let mut bad = vec![1f32; 3 * 32];
        bad[40] = f32::NAN;
        bank.append_keys(&Tensor::from_vec(bad, (1, 3, 32), &Device::Cpu).unwrap(), 0..3, &[100], &[0]).unwrap();
        assert!(!bank.is_finite().unwrap());
        assert!(Bank::new(1, 48, cached::Q8_0, &Device::Cpu, 4).is_err());
    }
}
