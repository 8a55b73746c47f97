use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::tests::{MEASURES, keys};
use super::{Measure, Sizes, cuda, reference};
use crate::cached::Q8_0;
use crate::error::Error;
use crate::gpu::Gpu;
use crate::testing::{assert_close, each_gpu, flat, on, stored};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shape_and_type_agrees_with_the_reference(
        heads in 0usize..4,
        dim in prop::sample::select(vec![1usize, 20, 64, 80]),
        entries in prop_oneof![0usize..5, 5usize..500],
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
        seed: u64,
    ) {
        let k = keys(seed, heads, entries + 2, dim).to_dtype(dtype).unwrap();
        let sizes = Sizes { heads, entries, capacity: entries + 2, dim };
        for what in MEASURES {
            let want = reference::measure(&k, sizes, what).unwrap();
            each_gpu!(|gpu| {
                let got = cuda::measure(gpu, &on(gpu, &k), sizes, what).unwrap();
                assert_eq!(got.dims(), &[heads, entries]);
                assert_close(&flat(&got), &want, 1e-5, if what == Measure::Likeness { 10.0 } else { 1.0 });
            });
        }
    }
}

#[test]
fn what_has_no_length_is_like_nothing() {
    each_gpu!(|gpu| {
        let k = Tensor::from_vec(vec![1f32, 0.0, 0.0, 0.0, 2.0, 0.0], (1, 3, 2), gpu.device()).unwrap();
        let likeness = |entries| {
            let sizes = Sizes { heads: 1, entries, capacity: 3, dim: 2 };
            flat(&cuda::measure(gpu, &k, sizes, Measure::Likeness).unwrap())
        };
        assert_eq!(likeness(3), [1.0, 0.0, 1.0]);
        let zero = k.zeros_like().unwrap();
        let sizes = Sizes { heads: 1, entries: 3, capacity: 3, dim: 2 };
        assert_eq!(flat(&cuda::measure(gpu, &zero, sizes, Measure::Likeness).unwrap()), [0.0; 3]);
    });
}

#[test]
fn keys_too_wide_for_a_mean_have_lengths() {
    each_gpu!(|gpu| {
        let k = Tensor::ones((1, 2, 3104), DType::F32, gpu.device()).unwrap();
        let sizes = Sizes { heads: 1, entries: 2, capacity: 2, dim: 3104 };
        let got = flat(&cuda::measure(gpu, &k, sizes, Measure::Length).unwrap());
        assert_close(&got, &[3104f32.sqrt(); 2], 1e-5, 1.0);
        let refused = cuda::measure(gpu, &k, sizes, Measure::Likeness);
        assert!(matches!(refused, Err(Error::Invalid { op: "keys", .. })), "{refused:?}");
    });
}

#[test]
fn what_is_not_finite_is_named() {
    each_gpu!(|gpu| {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut numbers = vec![0.5f32; 2 * 100 * 16];
            numbers[170 * 16 + 4] = bad;
            let k = Tensor::from_vec(numbers, (2, 100, 16), gpu.device()).unwrap();
            let sizes = Sizes { heads: 2, entries: 100, capacity: 100, dim: 16 };
            for what in MEASURES {
                let got = cuda::measure(gpu, &k, sizes, what);
                assert!(matches!(got, Err(Error::NonFinite { op: "keys", index: 170, .. })), "{got:?}");
            }
        }
        let blocks = on(gpu, &stored(&Tensor::zeros((1, 2, 32), DType::F32, &Device::Cpu).unwrap(), Q8_0));
        let sizes = Sizes { heads: 1, entries: 2, capacity: 2, dim: 32 };
        assert!(cuda::measure(gpu, &blocks, sizes, Measure::Length).is_err());
    });
}
