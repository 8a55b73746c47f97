use std::sync::Arc;

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::{BlockType, Bytes, Weight, embed, linear, linears, reference};
use crate::testing::{assert_close, devices, flat, numbers, tensor};

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

fn weight(seed: u64, dtype: BlockType, rows: usize, cols: usize) -> Weight {
    let dense = Tensor::from_vec(numbers(seed, rows * cols), (rows, cols), &Device::Cpu).unwrap();
    let data = candle_core::quantized::QTensor::quantize(&dense, dtype).unwrap().data().unwrap().to_vec();
    let len = data.len();
    Weight::new(dtype, rows, cols, Bytes::new(Arc::new(data), 0..len).unwrap()).unwrap()
}

fn expected(x: &Tensor, weight: &Weight) -> Vec<f32> {
    let rows = x.dim(0).unwrap();
    let mut out = vec![0f32; rows * weight.rows()];
    reference::linear(&flat(x), weight, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_differ_from_the_reference_by_summation_order_only(
        dtype in prop::sample::select(&TYPES[..]),
        rows in prop_oneof![0usize..20, 20usize..70],
        outs in 1usize..150,
        blocks in 1usize..7,
        seed: u64,
    ) {
        let cols = blocks * if dtype.block_size() == 1 { 19 } else { dtype.block_size() };
        let w = weight(seed, dtype, outs, cols);
        for device in devices() {
            let x = tensor(seed ^ 1, &[rows, cols], &device);
            let got = linear(&x, &w).unwrap();
            prop_assert_eq!(got.dims(), &[rows, outs]);
            assert_close(&flat(&got), &expected(&x, &w), 1e-5, (cols as f32).sqrt());
        }
    }
}

#[test]
fn several_products_are_each_the_single_one() {
    for device in devices() {
        for rows in [1, 5, 33, 300] {
            let x = tensor(3, &[rows, 576], &device);
            let (q, k) = (weight(4, BlockType::Q4_1, 576, 576), weight(5, BlockType::Q8_0, 192, 576));
            let [a, b, c] = linears(&x, [&q, &k, &k]).unwrap();
            assert_close(&flat(&a), &expected(&x, &q), 1e-5, 24.0);
            assert_close(&flat(&b), &expected(&x, &k), 1e-5, 24.0);
            assert_eq!(flat(&b), flat(&c));
        }
    }
}

#[test]
fn a_pool_of_many_threads_changes_nothing() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(7).build().unwrap();
    for rows in [1, 600] {
        let x = tensor(8, &[rows, 320], &Device::Cpu);
        let w = weight(9, BlockType::Q4_1, 1001, 320);
        let got = pool.install(|| linear(&x, &w).unwrap());
        assert_close(&flat(&got), &expected(&x, &w), 1e-5, 18.0);
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
    assert!(linear(&tensor(1, &[2, 32], &Device::Cpu), &w).is_err());
}
