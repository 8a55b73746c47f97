use candle_core::DType;
use proptest::prelude::*;

use super::{reference, rows};
use crate::cached::Q8_0;
use crate::testing::{devices, flat, tensor};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_copied_exactly(
        count in 1usize..50,
        width in 1usize..300,
        picks in prop::collection::vec(any::<u32>(), 0..700),
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
        seed: u64,
    ) {
        let indices: Vec<u32> = picks.iter().map(|p| p % count as u32).collect();
        for device in devices() {
            let x = tensor(seed, &[count, width], &device).to_dtype(dtype).unwrap();
            let got = rows(&x, &indices).unwrap();
            prop_assert_eq!(got.dims(), &[indices.len(), width]);
            let mut want = vec![0f32; indices.len() * width];
            reference::rows_into(&flat(&x.to_dtype(DType::F32).unwrap()), width, &indices, &mut want);
            prop_assert_eq!(flat(&got.to_dtype(DType::F32).unwrap()), want);
            prop_assert!(rows(&x, &[count as u32]).is_err());
        }
    }
}

#[test]
fn rows_of_blocks_are_bytes() {
    let x = crate::testing::stored(&tensor(1, &[1, 9, 64], &candle_core::Device::Cpu), Q8_0).get(0).unwrap();
    let all = x.to_vec2::<u8>().unwrap();
    let got = rows(&x, &[7, 0, 7]).unwrap().to_vec2::<u8>().unwrap();
    assert_eq!(got, [all[7].clone(), all[0].clone(), all[7].clone()]);
}
