//! Which rows of a sequence see which: the mask as lists, so that work goes with what is seen.

#[cfg(test)]
use candle_core::{Device, Result, Tensor};
use skimlm_core::ANCHOR;

/// For every row of every sequence the columns that it sees, ascending. Every row sees itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sees {
    rows: usize,
    /// Row `r` of sequence `b` is at `b * rows + r`, or at `r` where all sequences share one mask.
    starts: Vec<u32>,
    columns: Vec<u32>,
}

impl Sees {
    /// The mask of sequences of `rows` rows: `sees(sequence, row, column)` for columns up to the row. With
    /// one sequence it is shared by all of a batch.
    pub fn new(sequences: usize, rows: usize, sees: impl Fn(usize, usize, usize) -> bool) -> Self {
        let (mut starts, mut columns) = (vec![0], Vec::new());
        for sequence in 0..sequences {
            for row in 0..rows {
                columns.extend((0..=row as u32).filter(|&c| c as usize == row || sees(sequence, row, c as usize)));
                starts.push(columns.len() as u32);
            }
        }
        Self { rows, starts, columns }
    }

    /// Rows of a sequence.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What a row sees.
    #[inline]
    pub fn columns(&self, sequence: usize, row: usize) -> &[u32] {
        let at = (sequence * self.rows + row) % (self.starts.len() - 1);
        &self.columns[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// The mask to add to logits `[batch, heads, rows, rows]`: 0 where a row sees and a large negative
    /// number elsewhere.
    #[cfg(test)]
    pub(crate) fn mask(&self, batch: usize) -> Result<Tensor> {
        let mut mask = vec![-1e9f32; batch * self.rows * self.rows];
        for (at, line) in mask.chunks_exact_mut(self.rows.max(1)).enumerate() {
            for &c in self.columns(at / self.rows, at % self.rows) {
                line[c as usize] = 0.0;
            }
        }
        Tensor::from_vec(mask, (batch, 1, self.rows, self.rows), &Device::Cpu)
    }
}

/// Who sees whom under [`skimlm_core::Visibility::Anchored`], given the tag of every row: a row sees its own segment
/// and, unless it ends that itself, every earlier row with a tag.
pub fn anchored(tags: &[u32]) -> impl Fn(usize, usize) -> bool + use<> {
    let mut segment = 0u32;
    let segments: Vec<u32> = tags
        .iter()
        .map(|&tag| {
            segment += u32::from(tag == ANCHOR);
            segment - u32::from(tag == ANCHOR)
        })
        .collect();
    let tags = tags.to_vec();
    move |row, column| {
        column <= row && (segments[row] == segments[column] || (tags[column] != 0 && tags[row] != ANCHOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_the_one_of_the_kernels() {
        use skimlm_core::Visibility;
        use skimlm_kernels::attention::Entries;
        // The paper's example, `B a b # c d # e`, and one with pinned rows.
        for tags in [vec![0, 0, 0, 1, 0, 0, 1, 0], vec![2, 0, 1, 1, 2, 0, 0, 1, 0, 2, 0, 1]] {
            let rule = anchored(&tags);
            let sees = Sees::new(1, tags.len(), |_, row, column| rule(row, column));
            let k = Tensor::zeros((1, tags.len(), 1), candle_core::DType::F32, &Device::Cpu).unwrap();
            let positions: Vec<u32> = (0..tags.len() as u32).collect();
            let entries = Entries { k: &k, v: &k, positions: &positions, tags: &tags };
            let visibility = Visibility::Anchored { width: None };
            for &row in &positions {
                let want: Vec<u32> =
                    positions.iter().copied().filter(|&c| visibility.sees(row, c as usize, entries)).collect();
                assert_eq!(sees.columns(5, row as usize), want, "row {row}");
            }
        }
    }

    #[test]
    fn as_a_tensor_it_is_added_to_logits() {
        let mask = Sees::new(1, 3, |_, _, _| false).mask(2).unwrap();
        assert_eq!(mask.dims(), [2, 1, 3, 3]);
        let values = mask.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!((0..18).all(|i| (values[i] == 0.0) == (i % 9 % 4 == 0)));
    }
}
