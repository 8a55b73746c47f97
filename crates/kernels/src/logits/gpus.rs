use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::{cuda, reference, told};
use crate::error::Error;
use crate::testing::{each_gpu, numbers, on};

fn compare(logits: &[f32]) {
    let want = reference::top(logits);
    each_gpu!(|gpu| {
        let there = on(gpu, &Tensor::new(logits, &Device::Cpu).unwrap());
        let got = told(&cuda::top(gpu, &there).unwrap().to_vec1::<u32>().unwrap()).unwrap();
        assert_eq!((got.index, got.value), (want.index, want.value));
        assert!((got.log_sum - want.log_sum).abs() <= 1e-6 * want.log_sum.abs().max(1.0), "{got:?}, not {want:?}");
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_logits_agree(count in 1usize..20_000, spread in 0.01f32..100.0, steps in 1f32..1000.0, seed: u64) {
        // In few steps there are equals among the largest.
        compare(&numbers(seed, count).iter().map(|v| (v * steps).round() / steps * spread).collect::<Vec<_>>());
    }
}

#[test]
fn a_vocabulary_of_equals_and_one_of_extremes_agree() {
    compare(&vec![3.0; 150_000]);
    let mut far = vec![-1e30; 12_289];
    far[12_288] = 1e30;
    compare(&far);
    compare(&[-0.0, 0.0, -1.0]);
    compare(&[f32::MIN]);
}

#[test]
fn the_first_that_is_no_number_is_named() {
    each_gpu!(|gpu| {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut logits = numbers(1, 9000);
            (logits[8100], logits[5077], logits[5078]) = (f32::NAN, bad, f32::INFINITY);
            let there = on(gpu, &Tensor::new(logits, &Device::Cpu).unwrap());
            let words = cuda::top(gpu, &there).unwrap().to_vec1::<u32>().unwrap();
            assert!(words[0] < 9000, "an index to look an embedding up by");
            match told(&words) {
                Err(Error::NonFinite { index: 5077, value, .. }) => assert_eq!(value.to_bits(), bad.to_bits()),
                other => panic!("{other:?}"),
            }
        }
    });
}
