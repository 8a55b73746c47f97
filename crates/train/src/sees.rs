//! Which rows of a sequence see which: the mask as lists, so that work goes with what is seen.

use candle_core::{Device, Result, Tensor};

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
    pub fn mask(&self, batch: usize, device: &Device) -> Result<Tensor> {
        let mut mask = vec![-1e9f32; batch * self.rows * self.rows];
        for (at, line) in mask.chunks_exact_mut(self.rows.max(1)).enumerate() {
            for &c in self.columns(at / self.rows, at % self.rows) {
                line[c as usize] = 0.0;
            }
        }
        Tensor::from_vec(mask, (batch, 1, self.rows, self.rows), device)
    }
}

/// Who sees whom under anchors: `anchors[r]` says whether row `r` ends a segment. A row sees its own
/// segment; unless it is an anchor itself, it also sees every earlier anchor.
pub fn anchored(anchors: &[bool]) -> impl Fn(usize, usize) -> bool + use<> {
    let mut segment = 0u32;
    let segments: Vec<u32> = anchors
        .iter()
        .map(|&anchor| {
            segment += u32::from(anchor);
            segment - u32::from(anchor)
        })
        .collect();
    let anchors = anchors.to_vec();
    move |row, column| column <= row && (segments[row] == segments[column] || (anchors[column] && !anchors[row]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_paper() {
        // B a b # c d # e
        let anchors = [false, false, false, true, false, false, true, false];
        let sees = anchored(&anchors);
        let sees = Sees::new(1, 8, |_, row, column| sees(row, column));
        let want: [&[u32]; 8] = [&[0], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3], &[3, 4], &[3, 4, 5], &[4, 5, 6], &[3, 6, 7]];
        for (row, want) in want.iter().enumerate() {
            assert_eq!(&sees.columns(5, row), want, "row {row}");
        }
        let mask = sees.mask(2, &Device::Cpu).unwrap().to_vec3::<f32>();
        assert!(mask.is_err(), "four dimensions");
    }
}
