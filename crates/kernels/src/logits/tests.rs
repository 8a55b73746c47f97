use proptest::prelude::*;

use super::{cpu, reference, top};
use crate::error::Error;
use crate::level::Level;
use crate::testing::numbers;

fn compare(logits: &[f32]) {
    let want = reference::top(logits);
    for level in Level::present() {
        let got = cpu::top(level, logits);
        assert_eq!((got.index, got.value), (want.index, want.value), "{level}");
        assert!((got.log_sum - want.log_sum).abs() <= 1e-6 * want.log_sum.abs().max(1.0), "{got:?}, not {want:?}");
    }
}

proptest! {
    #[test]
    fn any_logits_agree(count in 1usize..9000, spread in 0.01f32..100.0, steps in 1f32..1000.0, seed: u64) {
        // In few steps there are equals among the largest.
        compare(&numbers(seed, count).iter().map(|v| (v * steps).round() / steps * spread).collect::<Vec<_>>());
    }
}

#[test]
fn a_vocabulary_of_equals_and_one_of_extremes_agree() {
    compare(&vec![3.0; 150_000]);
    let mut far = vec![-1e30; 150_000];
    far[149_999] = 1e30;
    compare(&far);
    compare(&[-0.0, 0.0, -1.0]);
}

#[test]
fn what_is_no_number_is_named() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut logits = numbers(1, 100);
        logits[77] = bad;
        assert!(matches!(top(&logits), Err(Error::NonFinite { index: 77, .. })));
    }
    assert!(top(&[]).is_err());
}

#[test]
fn a_tensor_s_top_is_that_of_its_numbers() {
    let logits = numbers(3, 500);
    let tensor = candle_core::Tensor::new(logits.as_slice(), &candle_core::Device::Cpu).unwrap();
    assert_eq!(super::top_of(&tensor.reshape((1, 500)).unwrap()).unwrap(), top(&logits).unwrap());
    assert!(super::top_of(&tensor.narrow(0, 0, 0).unwrap()).is_err());
}
