use std::fmt;
use std::ops::Range;

use skimlm_kernels::linear::BlockType;

/// A tensor's number format by its number in the file; the number may be unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorType(pub u32);

/// Number, name, values a block, bytes a block. Types without a kernel are here so that their
/// tensors can be named and their ends checked.
const TYPES: [(u32, &str, u64, u64); 32] = [
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
];

/// The types that can be multiplied.
const BLOCKS: [(u32, BlockType); 13] = [
    (0, BlockType::F32),
    (1, BlockType::F16),
    (30, BlockType::BF16),
    (2, BlockType::Q4_0),
    (3, BlockType::Q4_1),
    (6, BlockType::Q5_0),
    (7, BlockType::Q5_1),
    (8, BlockType::Q8_0),
    (10, BlockType::Q2K),
    (11, BlockType::Q3K),
    (12, BlockType::Q4K),
    (13, BlockType::Q5K),
    (14, BlockType::Q6K),
];

impl TensorType {
    /// The number of a format with a kernel.
    pub fn of(block: BlockType) -> Option<Self> {
        BLOCKS.iter().find(|(_, b)| *b == block).map(|&(number, _)| Self(number))
    }

    /// The names of all formats with a kernel.
    pub fn supported() -> Vec<String> {
        BLOCKS.iter().map(|&(number, _)| Self(number).to_string()).collect()
    }

    /// The kernel's format, if there is a kernel.
    pub fn block(self) -> Option<BlockType> {
        BLOCKS.iter().find(|(number, _)| *number == self.0).map(|&(_, block)| block)
    }

    /// Values and bytes of a block, if the type is known.
    pub fn layout(self) -> Option<(u64, u64)> {
        TYPES.iter().find(|t| t.0 == self.0).map(|&(_, _, values, bytes)| (values, bytes))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match TYPES.iter().find(|t| t.0 == self.0) {
            Some((_, name, ..)) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

/// What the header says about a tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its sizes, the fastest running first: a matrix `[out, in]` is `[in, out]` here.
    pub dims: Vec<u64>,
    /// Its number format.
    pub kind: TensorType,
    /// Number of values.
    pub elements: u64,
    /// Which of the model's files it is in, from 0.
    pub file: usize,
    /// Its bytes in that file; empty for a type of unknown size.
    pub range: Range<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_tables_and_candle_agree() {
        for (number, block) in BLOCKS {
            let layout = TensorType(number).layout();
            assert_eq!(layout, Some((block.block_size() as u64, block.type_size() as u64)), "{block:?}");
            assert_eq!(TensorType::of(block), Some(TensorType(number)));
        }
        assert_eq!(TensorType(3).to_string(), "Q4_1");
        assert_eq!(TensorType(999).to_string(), "type 999");
        assert_eq!(TensorType(999).layout(), None);
    }
}
