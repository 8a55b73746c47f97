//! Entries of decoding steps that a device counts by itself; the cache takes note of them when the host comes to know.

use std::ops::Range;

use candle_core::Tensor;
use skimlm_kernels::attention::{Reach, Visibility, attention_ahead};
use skimlm_kernels::cached;
use skimlm_kernels::steps::Steps;

use super::layer::{by_bank, joined};
use super::{Bank, KvCache, LayerCache};
use crate::error::{Code, Error, Result};

/// Where the entries of a layer's coming steps go, and what their rows see.
pub struct LayerAhead {
    banks: Vec<BankAhead>,
    scale: f32,
}

struct BankAhead {
    k: Tensor, // the bank's own
    v: Tensor,
    /// The first new entry.
    at: usize,
    heads: Range<usize>,
    reach: Reach,
}

impl LayerCache {
    /// Makes room for one entry at each of `positions`, ascending, of rows that see what `visibility` says. Until
    /// [`KvCache::note`] they are no entries. What is given is good until the cache changes otherwise.
    ///
    /// `ERR_INTERNAL` under anchors and while values are missing, `ERR_OUT_OF_MEMORY` where a GPU has no room.
    pub fn ahead(&mut self, positions: &[u32], visibility: Visibility) -> Result<LayerAhead> {
        if matches!(visibility, Visibility::Anchored { .. }) {
            return Err(Error::new(Code::Internal, "what anchors let see depends on tokens that are not there yet."));
        }
        let (scale, heads) = (self.scale, self.heads_of_bank());
        let ahead = |(i, bank): (usize, &mut Bank)| bank.ahead(positions, visibility, heads(i));
        let banks = self.banks.iter_mut().enumerate().map(ahead).collect::<Result<_>>()?;
        Ok(LayerAhead { banks, scale })
    }
}

impl Bank {
    fn ahead(&mut self, positions: &[u32], visibility: Visibility, heads: Range<usize>) -> Result<BankAhead> {
        self.entries()?;
        let at = self.len();
        self.reserve(at + positions.len())?;
        let all = [self.positions(), positions].concat();
        let range = |i: usize| visibility.range(all[i], &all[..=i]);
        let reach = Reach::new((at..all.len()).map(range).collect(), self.k.device())?;
        Ok(BankAhead { k: self.k.clone(), v: self.v.clone(), at, heads, reach })
    }
}

impl LayerAhead {
    /// The entry of the next step: its rotated key and its value, `[1, kv_heads, dim]` f32.
    pub fn append(&self, k: &Tensor, v: &Tensor, steps: &Steps) -> Result<()> {
        for bank in &self.banks {
            cached::write_ahead(&bank.k, bank.at, k, bank.heads.clone(), steps)?;
            cached::write_ahead(&bank.v, bank.at, v, bank.heads.clone(), steps)?;
        }
        Ok(())
    }

    /// Attention of the step's rotated query `[1, heads, dim]`, its own entry included.
    pub fn attend(&self, q: &Tensor, steps: &Steps) -> Result<Tensor> {
        joined(by_bank(&self.banks, q, |bank, q| {
            Ok(attention_ahead(q, &bank.k, &bank.v, &bank.reach, self.scale, steps)?)
        })?)
    }
}

impl KvCache {
    /// Takes the entries of a step that is done as its own, one a bank, without a tag. `ERR_INTERNAL` unless there is
    /// room for them and the position comes after all others.
    pub fn note(&mut self, position: u32) -> Result<()> {
        self.layers.iter_mut().flat_map(|layer| &mut layer.banks).try_for_each(|bank| bank.note(position))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use skimlm_kernels::attention::ANCHOR;

    use super::*;
    use crate::model::{LayerShape, Shape};
    use crate::selection::Selection;

    const SHAPE: (usize, usize, usize) = (4, 2, 32);

    fn shape() -> Shape {
        let (heads, kv_heads, head_dim) = SHAPE;
        Shape {
            hidden: 8,
            heads,
            kv_heads,
            head_dim,
            vocab: 10,
            max_positions: 100,
            scale: 0.2,
            layers: vec![LayerShape::default()],
        }
    }

    fn rows(first: f32, rows: usize, heads: usize) -> Tensor {
        let numbers = (0..rows * heads * SHAPE.2).map(|i| (first + i as f32 * 0.7).sin()).collect();
        Tensor::from_vec(numbers, (rows, heads, SHAPE.2), &Device::Cpu).unwrap()
    }

    /// Three layers' worth of cases: heads alike, different entries a kv head, and a query head.
    fn caches() -> Vec<KvCache> {
        let select = |lists: &[&[u32]]| Selection::per_head(lists.iter().map(|list| list.to_vec()).collect()).unwrap();
        let lists =
            [None, Some(select(&[&[0, 3, 4], &[1, 2, 5, 6]])), Some(select(&[&[0], &[1, 2], &[0, 6], &[3, 4, 5]]))];
        let of = |list: Option<Selection>| {
            let mut cache = KvCache::new(&shape(), DType::F16, &Device::Cpu, 0).unwrap();
            let layer = cache.layer_mut(0).unwrap();
            layer.append_keys(&rows(1.0, 7, 2), &[0, 1, 2, 3, 4, 5, 6], &[0; 7]).unwrap();
            layer.append_values(&rows(2.0, 7, 2)).unwrap();
            list.iter().for_each(|list| layer.keep(list).unwrap());
            cache
        };
        lists.into_iter().map(of).collect()
    }

    #[test]
    fn entries_ahead_are_appended_entries_once_they_are_noted() {
        for visibility in [Visibility::Causal, Visibility::Window { width: 4 }] {
            for (mut cache, mut plain) in caches().into_iter().zip(caches()) {
                let steps = Steps::new(0, 3, &Device::Cpu).unwrap();
                let ahead = cache.layer_mut(0).unwrap().ahead(&[7, 8, 9], visibility).unwrap();
                for i in 0..3u32 {
                    let [k, v] = [3.0, 4.0].map(|first| rows(first + i as f32, 1, 2));
                    let q = rows(5.0 + i as f32, 1, 4);
                    let lengths = cache.lengths();
                    ahead.append(&k, &v, &steps).unwrap();
                    let got = ahead.attend(&q, &steps).unwrap();
                    assert_eq!(cache.lengths(), lengths, "not noted yet");
                    cache.note(7 + i).unwrap();
                    steps.turn(&rows(0.0, 1, 1)).unwrap();

                    let layer = plain.layer_mut(0).unwrap();
                    layer.append_keys(&k, &[7 + i], &[0]).unwrap();
                    layer.append_values(&v).unwrap();
                    let want = layer.attend(&q, &[7 + i], visibility).unwrap();
                    let numbers = |of: &Tensor| of.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    assert_eq!(numbers(&got), numbers(&want));
                    // The entries themselves too: a later row sees all of them.
                    let all = |cache: &KvCache| {
                        numbers(&cache.layer(0).unwrap().attend(&q, &[50], Visibility::Causal).unwrap())
                    };
                    assert_eq!((all(&cache), cache.bytes()), (all(&plain), plain.bytes()));
                }
                assert_eq!(cache.note(9).unwrap_err().code, Code::Internal, "the position is taken");
            }
        }
    }

    #[test]
    fn rows_of_a_pass_are_counted_by_each_bank() {
        let selected = Selection::shared(vec![1]).unwrap();
        let kept: Vec<Vec<Vec<u32>>> = caches()
            .into_iter()
            .map(|mut cache| {
                let layer = cache.layer_mut(0).unwrap();
                layer.append_keys(&rows(1.0, 2, 2), &[7, 8], &[0; 2]).unwrap();
                layer.append_values(&rows(2.0, 2, 2)).unwrap();
                layer.keep_of_rows(&selected, 2).unwrap();
                layer.banks().iter().map(|bank| bank.positions().to_vec()).collect()
            })
            .collect();
        assert_eq!(kept[0], [[0, 1, 2, 3, 4, 5, 6, 8]]);
        assert_eq!(kept[1], [vec![0, 3, 4, 8], vec![1, 2, 5, 6, 8]]);
        assert_eq!(kept[2], [vec![0, 8], vec![1, 2, 8], vec![0, 6, 8], vec![3, 4, 5, 8]]);
        let differ = Selection::per_head(vec![vec![0], vec![1]]).unwrap();
        let error = caches()[1].layer_mut(0).unwrap().keep_of_rows(&differ, 2).unwrap_err();
        assert_eq!(error.code, Code::Internal);
    }

    #[test]
    fn what_is_not_known_beforehand_is_refused() {
        let mut cache = caches().remove(0);
        let layer = cache.layer_mut(0).unwrap();
        assert_eq!(layer.ahead(&[7], Visibility::Anchored { width: None }).err().unwrap().code, Code::Internal);
        layer.append_keys(&rows(1.0, 1, 2), &[7], &[ANCHOR]).unwrap();
        assert_eq!(layer.ahead(&[8], Visibility::Causal).err().unwrap().code, Code::Internal, "values are missing");
        layer.append_values(&rows(1.0, 1, 2)).unwrap();
        // Room has not been made.
        layer.keep(&Selection::shared(vec![0]).unwrap()).unwrap();
        assert_eq!(cache.note(8).unwrap_err().code, Code::Internal);
    }
}
