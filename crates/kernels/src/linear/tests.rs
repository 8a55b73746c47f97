pub(super) mod slack;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use slack::slack;

use super::{Activations, BlockType, Bytes, Weight, cpu, embed, gated, linear, linears, reference};
use crate::level::Level;
use crate::testing::{assert_close, devices, flat, levels, numbers, tensor};

const TYPES: [BlockType; 13] = [
    BlockType::F32,
    BlockType::F16,
    BlockType::BF16,
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Q8_0,
    BlockType::Q2K,
    BlockType::Q3K,
    BlockType::Q4K,
    BlockType::Q5K,
    BlockType::Q6K,
];

/// Numbers of `seed` in a format.
pub(super) fn weight(seed: u64, dtype: BlockType, rows: usize, cols: usize) -> Weight {
    let dense = Tensor::from_vec(numbers(seed, rows * cols), (rows, cols), &Device::Cpu).unwrap();
    let data = candle_core::quantized::QTensor::quantize(&dense, dtype).unwrap().data().unwrap().to_vec();
    stored(dtype, rows, cols, data)
}

/// Blocks as they are in a file.
pub(super) fn stored(dtype: BlockType, rows: usize, cols: usize, data: Vec<u8>) -> Weight {
    let len = data.len();
    Weight::new(dtype, rows, cols, Bytes::new(Arc::new(data), 0..len).unwrap()).unwrap()
}

fn expected(x: &Tensor, weight: &Weight) -> Vec<f32> {
    let rows = x.dim(0).unwrap();
    let mut out = vec![0f32; rows * weight.rows()];
    reference::linear(&flat(x), weight, &mut out).unwrap();
    out
}

fn product(level: Level, x: &Tensor, weight: &Weight) -> Vec<f32> {
    let rows = x.dim(0).unwrap();
    let mut outs = [vec![0f32; rows * weight.rows()]];
    cpu::products(level, &flat(x), rows, &[weight], &mut outs).unwrap();
    let [out] = outs;
    out
}

#[track_caller]
fn check(level: Level, x: &Tensor, weight: &Weight) {
    let (got, want) = (product(level, x, weight), expected(x, weight));
    for (i, ((g, w), slack)) in got.iter().zip(&want).zip(slack(level, x, weight)).enumerate() {
        assert!((g - w).abs() <= slack, "{:?} at {level}, {i}: {g}, not {w} within {slack}", weight.dtype());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_are_within_what_the_contract_allows(
        dtype in prop::sample::select(&TYPES[..]),
        rows in prop_oneof![0usize..20, 20usize..70],
        outs in 1usize..150,
        blocks in 1usize..7,
        outliers in prop::collection::vec((0usize..100_000, -1000f32..1000.0), 0..4),
        dense in prop_oneof![Just(19usize), Just(96)],
        activations in prop_oneof![Just(Activations::Bits16), Just(Activations::Bits8)],
        seed: u64,
    ) {
        let cols = blocks * if dtype.block_size() == 1 { dense } else { dtype.block_size() };
        let w = weight(seed, dtype, outs, cols).with_activations(activations);
        let mut x = numbers(seed ^ 1, rows * cols);
        for (at, value) in outliers.into_iter().filter(|_| rows > 0) {
            x[at % (rows * cols)] = value;
        }
        let x = Tensor::from_vec(x, (rows, cols), &Device::Cpu).unwrap();
        for level in levels() {
            check(level, &x, &w);
        }
    }
}

#[test]
fn a_gated_product_is_the_two_products_and_the_activation() {
    for (seed, dtype) in TYPES.into_iter().enumerate() {
        let cols = if dtype.block_size() == 1 { 57 } else { 256 };
        let (gate, up) = (weight(seed as u64, dtype, 333, cols), weight(99, BlockType::Q4_1, 333, 256));
        let up = if cols == 256 { up } else { weight(99, dtype, 333, cols) };
        for rows in [0, 1, 7, 9, 20, 530] {
            let x = tensor(7, &[rows, cols], &Device::Cpu);
            for level in levels() {
                let mut both = [vec![0f32; rows * 333], vec![0f32; rows * 333]];
                cpu::products(level, &flat(&x), rows, &[&gate, &up], &mut both).unwrap();
                let mut want = vec![0f32; rows * 333];
                crate::activation::reference::silu_mul(&both[0], &both[1], &mut want);
                let mut got = vec![f32::NAN; want.len()];
                cpu::gated(level, &flat(&x), rows, &gate, &up, &mut got).unwrap();
                assert_close(&got, &want, 1e-5, 1.0);
            }
        }
    }
    let (gate, up) = (weight(1, BlockType::Q4_1, 40, 96), weight(2, BlockType::Q8_0, 40, 96));
    for device in devices() {
        let x = tensor(3, &[5, 96], &device);
        let mut want = vec![0f32; 5 * 40];
        reference::gated(&flat(&x), &gate, &up, &mut want).unwrap();
        assert_close(&flat(&gated(&x, &gate, &up).unwrap()), &want, of_blocks(&device), 10.0);
    }
    let narrow = weight(2, BlockType::Q8_0, 39, 96);
    assert!(gated(&tensor(3, &[5, 96], &Device::Cpu), &gate, &narrow).is_err());
}

#[test]
fn every_device_multiplies() {
    for device in devices() {
        let (x, w) = (tensor(3, &[5, 96], &device), weight(4, BlockType::Q4_1, 40, 96));
        let got = linear(&x, &w).unwrap();
        assert_eq!(got.dims(), &[5, 40]);
        assert_close(&flat(&got), &expected(&x, &w), of_blocks(&device), 10.0);
    }
}

/// How much a few rows times blocks may miss: candle's kernels round activations to 8 bits.
fn of_blocks(device: &Device) -> f32 {
    if device.is_cpu() { 1e-5 } else { 2e-2 }
}

#[test]
fn rounding_costs_a_row_no_more_of_its_length_than_the_contract_says() {
    let x = tensor(1, &[40, 576], &Device::Cpu);
    for dtype in TYPES {
        let w = weight(2, dtype, 300, if dtype.block_size() == 256 { 512 } else { 576 });
        let x = x.narrow(1, 0, w.cols()).unwrap().contiguous().unwrap();
        let (alone, coarse) = (x.narrow(0, 0, 1).unwrap(), w.clone().with_activations(Activations::Bits8));
        let want = expected(&x, &w);
        for level in levels() {
            for (what, got, most) in [
                ("many rows", product(level, &x, &w), 3e-4),
                ("many rows of 8 bits", product(level, &x, &coarse), 8e-3),
                ("one row", product(level, &alone, &w), 3e-5),
            ] {
                for (got, want) in got.chunks_exact(300).zip(want.chunks_exact(300)) {
                    let miss: f32 = got.iter().zip(want).map(|(g, w)| (g - w) * (g - w)).sum();
                    let length: f32 = want.iter().map(|w| w * w).sum();
                    let (miss, length) = (miss.sqrt(), length.sqrt());
                    assert!(miss <= most * length, "{what} of {dtype:?} at {level}: {miss} of {length}");
                }
            }
        }
    }
}

#[test]
fn one_huge_activation_leaves_other_rows_alone() {
    let mut x = numbers(1, 32 * 512);
    let w = weight(2, BlockType::Q4_1, 96, 512);
    let tensor = |x: &[f32]| Tensor::from_slice(x, (32, 512), &Device::Cpu).unwrap();
    for level in levels() {
        x[5 * 512 + 100] = 0.5;
        let before = product(level, &tensor(&x), &w);
        x[5 * 512 + 100] = 1000.0;
        check(level, &tensor(&x), &w);
        let after = product(level, &tensor(&x), &w);
        let rows = before.chunks_exact(96).zip(after.chunks_exact(96)).enumerate();
        rows.for_each(|(row, (before, after))| assert_eq!(before == after, row != 5, "{level}, row {row}"));
    }
}

#[test]
fn the_largest_integers_there_are_do_not_overflow() {
    // Q6_K: 192 bytes of zeros are integers of -32, then come sixteen scales of -128 and 0.5.
    let block: Vec<u8> = [vec![0; 192], vec![0x80; 16], vec![0x00, 0x38]].concat();
    let six = stored(BlockType::Q6K, 50, 512, block.repeat(2 * 50));
    // Q8_0: a scale of 0.5 and integers of -128.
    let bytes = [vec![0x00, 0x38], vec![0x80; 32]].concat().repeat(16 * 50);
    let eight = stored(BlockType::Q8_0, 50, 512, bytes);
    let coarse = eight.clone().with_activations(Activations::Bits8);
    for sign in [1.0, -1.0] {
        let x = Tensor::full(3f32 * sign, (20, 512), &Device::Cpu).unwrap();
        for level in levels() {
            assert_close(&product(level, &x, &six), &[3.0 * sign * 2048.0 * 512.0; 1000], 1e-3, 1.0);
            for eight in [&eight, &coarse] {
                assert_close(&product(level, &x, eight), &[-3.0 * sign * 64.0 * 512.0; 1000], 1e-3, 1.0);
            }
        }
    }
}

#[test]
fn no_nan_and_no_infinity_becomes_a_number() {
    for dtype in TYPES {
        let w = weight(2, dtype, 60, 256);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)] {
            let mut x = numbers(1, 24 * 256);
            x[7 * 256 + 77] = bad;
            let x = Tensor::from_vec(x, (24, 256), &Device::Cpu).unwrap();
            for level in levels() {
                let coarse = product(level, &x, &w.clone().with_activations(Activations::Bits8));
                for (i, y) in product(level, &x, &w).iter().chain(&coarse).enumerate() {
                    let i = i % (24 * 60);
                    assert!(y.is_finite() == (i / 60 != 7), "{dtype:?} at {level}: {y} in row {}", i / 60);
                }
                let alone = product(level, &x.narrow(0, 7, 1).unwrap().contiguous().unwrap(), &w);
                assert!(alone.iter().all(|y| !y.is_finite()), "{dtype:?} at {level}: {alone:?}");
            }
        }
    }
}

/// Rounding to 8 bits is what a weight allows, not what a call with another weight has to bear.
#[test]
fn all_weights_of_a_call_round_alike() {
    let x = tensor(3, &[33, 512], &Device::Cpu);
    let coarse = |seed, dtype| weight(seed, dtype, 70, 512).with_activations(Activations::Bits8);
    let (a, b) = (coarse(4, BlockType::Q4_1), coarse(5, BlockType::Q8_0));
    for level in levels() {
        let together = |weights: [&Weight; 2]| {
            let mut outs = weights.map(|w| vec![0f32; 33 * w.rows()]);
            cpu::products(level, &flat(&x), 33, &weights, &mut outs).unwrap();
            outs
        };
        assert_eq!(together([&a, &b]), [&a, &b].map(|w| product(level, &x, w)), "{level}");
        let fine = a.clone().with_activations(Activations::Bits16);
        assert_eq!(together([&fine, &b])[0], product(level, &x, &fine), "{level}");
        let tiles = level == Level::Amx;
        let rounds = level == Level::Dotprod || level.integers() == Some(true) && !tiles;
        assert_eq!(product(level, &x, &a) != product(level, &x, &fine), rounds, "{level}");
        // Integers of Q6_K and bytes do not go together, so that both are finer; where Q6_K stays numbers, they do.
        let six = coarse(6, BlockType::Q6K);
        let beside = &together([&six, &a])[1];
        if level == Level::Dotprod {
            assert_eq!(*beside, product(level, &x, &a));
        } else {
            assert_close(beside, &expected(&x, &a), 1e-3, 10.0);
        }
    }
}

#[test]
fn nothing_and_next_to_nothing_stay_what_they_are() {
    let w = weight(2, BlockType::Q4_1, 60, 256);
    for level in levels() {
        assert!(
            product(level, &Tensor::zeros((40, 256), DType::F32, &Device::Cpu).unwrap(), &w).iter().all(|&y| y == 0.0)
        );
        check(level, &(tensor(1, &[40, 256], &Device::Cpu) * 1e-20).unwrap(), &w);
        check(level, &(tensor(1, &[40, 256], &Device::Cpu) * 1e25).unwrap(), &w);
    }
}

/// Any bits are a block, so long as its 16-bit floats are numbers.
#[test]
fn every_level_decodes_any_bits_exactly() {
    for (dtype, floats) in [
        (BlockType::Q4_0, &[0][..]),
        (BlockType::Q4_1, &[0, 2]),
        (BlockType::Q5_0, &[0]),
        (BlockType::Q5_1, &[0, 2]),
        (BlockType::Q8_0, &[0]),
        (BlockType::Q4K, &[0, 2]),
        (BlockType::Q5K, &[0, 2]),
        (BlockType::Q6K, &[208]),
    ] {
        let mut bytes: Vec<u8> =
            numbers(9, 40 * 3 * dtype.type_size()).iter().map(|v| (v * 8e6) as i32 as u8).collect();
        for block in bytes.chunks_exact_mut(dtype.type_size()) {
            floats.iter().for_each(|&at| block[at + 1] = block[at + 1] & 0x80 | 0x25);
        }
        let w = stored(dtype, 40, 3 * dtype.block_size(), bytes);
        let ids: Vec<u32> = (0..40).collect();
        let mut want = vec![0f32; 40 * w.cols()];
        reference::embed(&ids, &w, &mut want).unwrap();
        for level in levels() {
            let mut got = vec![0f32; want.len()];
            cpu::embed(level, &ids, &w, &mut got).unwrap();
            assert_eq!(got, want, "{dtype:?} at {level}");
            check(level, &tensor(1, &[3, w.cols()], &Device::Cpu), &w);
            check(level, &tensor(1, &[30, w.cols()], &Device::Cpu), &w);
        }
    }
}

#[test]
fn several_products_are_each_the_single_one() {
    for level in levels() {
        for rows in [1, 5, 33, 300] {
            let x = tensor(3, &[rows, 576], &Device::Cpu);
            let (q, k, f) = (
                weight(4, BlockType::Q4_1, 576, 576),
                weight(5, BlockType::Q8_0, 192, 576),
                weight(6, BlockType::F16, 70, 576),
            );
            let all = [&q, &k, &f, &k];
            let mut outs = all.map(|w| vec![0f32; rows * w.rows()]);
            cpu::products(level, &flat(&x), rows, &all, &mut outs).unwrap();
            assert_eq!(outs, all.map(|w| product(level, &x, w)));
            all.into_iter().for_each(|w| check(level, &x, w));
        }
    }
    let x = tensor(3, &[33, 576], &Device::Cpu);
    let w = weight(4, BlockType::Q4_1, 576, 576);
    let [a, b] = linears(&x, [&w, &w]).unwrap();
    assert_eq!(flat(&a), flat(&b));
}

#[test]
fn a_pool_of_many_threads_changes_nothing() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(7).build().unwrap();
    for rows in [1, 600] {
        let x = tensor(8, &[rows, 320], &Device::Cpu);
        let w = weight(9, BlockType::Q4_1, 1001, 320);
        for level in levels() {
            assert_eq!(pool.install(|| product(level, &x, &w)), product(level, &x, &w), "{level}");
            check(level, &x, &w);
        }
    }
}

#[test]
fn embedding_rows_are_exactly_the_dequantised_ones() {
    for dtype in TYPES {
        let w = weight(6, dtype, 300, 256);
        let ids: Vec<u32> = (0..700).map(|i| i * 37 % 300).collect();
        let mut want = vec![0f32; ids.len() * 256];
        reference::embed(&ids, &w, &mut want).unwrap();
        assert_eq!(flat(&embed(&ids, &w, &Device::Cpu).unwrap()), want, "{dtype:?}");
        assert_eq!(embed(&[], &w, &Device::Cpu).unwrap().dims(), &[0, 256]);
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let w = weight(6, BlockType::Q8_0, 10, 64);
    assert!(embed(&[9, 10], &w, &Device::Cpu).unwrap_err().to_string().contains("id 10 of a vocabulary of 10"));
    let narrow = tensor(1, &[2, 32], &Device::Cpu);
    assert!(linear(&narrow, &w).unwrap_err().to_string().starts_with("linear: x is [2, 32]"));
    assert!(gated(&narrow, &w, &w).unwrap_err().to_string().starts_with("gated: x is [2, 32]"));
    for (rows, cols, bytes) in [(0, 64, 0), (10, 0, 0), (10, 33, 680), (10, 64, 679), (usize::MAX, 64, 680)] {
        let bytes = Bytes::new(Arc::new(vec![0; bytes]), 0..bytes).unwrap();
        assert!(Weight::new(BlockType::Q8_0, rows, cols, bytes).is_err(), "[{rows}, {cols}]");
    }
}
