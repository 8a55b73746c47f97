use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{Measure, Sizes, cpu, measure, reference};
use crate::cached::{BLOCK, Q8_0};
use crate::error::Error;
use crate::scores::Keys;
use crate::testing::{assert_close, devices, flat, levels, stored, tensor};
use crate::threads::Threads;

pub(super) const MEASURES: [Measure; 2] = [Measure::Length, Measure::Likeness];

/// Keys on one side of a plane: their directions cannot cancel, and the mean that divides by its own length is never short.
pub(super) fn keys(seed: u64, heads: usize, capacity: usize, dim: usize) -> Tensor {
    let aside: Vec<f32> = (0..dim).map(|at| if at == 0 { 4.0 } else { 0.0 }).collect();
    (tensor(seed, &[heads, capacity, dim], &Device::Cpu) * 3.0)
        .unwrap()
        .broadcast_add(&Tensor::new(aside, &Device::Cpu).unwrap())
        .unwrap()
}

fn measured(k: &Tensor, entries: usize, what: Measure) -> crate::Result<Vec<f32>> {
    let positions: Vec<u32> = (0..entries as u32).collect();
    let answer = measure(Keys { k, positions: &positions }, what)?;
    assert_eq!(answer.dims(), [k.dims()[0], entries]);
    Ok(flat(&answer))
}

/// The same from both implementations.
fn agreed(k: &Tensor, entries: usize, what: Measure) -> Vec<f32> {
    let positions: Vec<u32> = (0..entries as u32).collect();
    let want = reference::measure(k, Sizes::of(Keys { k, positions: &positions }).unwrap(), what).unwrap();
    let got = measured(k, entries, what).unwrap();
    assert_close(&got, &want, 1e-6, 1.0);
    got
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shape_and_type_agrees_with_the_reference(
        heads in 0usize..4,
        dim in prop::sample::select(vec![1usize, 4, 20, 64, 80]),
        entries in prop_oneof![0usize..5, 5usize..1300],
        spare in 0usize..3,
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16, Q8_0]),
        seed: u64,
    ) {
        let dim = if dtype == Q8_0 { dim.next_multiple_of(BLOCK) } else { dim };
        let k = stored(&keys(seed, heads, entries + spare, dim), dtype);
        for what in MEASURES {
            let sizes = Sizes { heads, entries, capacity: entries + spare, dim };
            let want = reference::measure(&k, sizes, what).unwrap();
            let scale = if what == Measure::Likeness { 10.0 } else { 1.0 };
            for level in levels() {
                assert_close(&cpu::measure(level, &k, sizes, what).unwrap(), &want, 1e-5, scale);
            }
            for device in devices().iter().filter(|device| device.is_cpu() || dtype != Q8_0) {
                let got = measured(&k.to_device(device).unwrap(), entries, what).unwrap();
                assert_close(&got, &want, 1e-5, scale);
            }
        }
    }
}

#[test]
fn a_square_is_measured_by_hand() {
    // The directions (1, 0), (0, 1) and (1, 0) add up to (2, 1); the lengths 3, 5 and 0.5 have no say.
    let k = Tensor::from_vec(vec![3f32, 0.0, 0.0, 5.0, 0.5, 0.0, 9.0, 9.0], (1, 4, 2), &Device::Cpu).unwrap();
    assert_eq!(agreed(&k, 3, Measure::Length), [3.0, 5.0, 0.5]);
    let (far, near) = (1.0 / 5f32.sqrt(), 2.0 / 5f32.sqrt());
    assert_close(&agreed(&k, 3, Measure::Likeness), &[near, far, near], 1e-6, 1.0);
}

#[test]
fn what_has_no_length_is_like_nothing() {
    let zero = Tensor::zeros((2, 3, 32), DType::F32, &Device::Cpu).unwrap();
    for dtype in [DType::F32, DType::F16, DType::BF16, Q8_0] {
        for what in MEASURES {
            assert_eq!(agreed(&stored(&zero, dtype), 3, what), [0.0; 6]);
        }
    }
    let k = Tensor::from_vec(vec![1f32, 0.0, 0.0, 0.0, 2.0, 0.0], (1, 3, 2), &Device::Cpu).unwrap();
    assert_eq!(agreed(&k, 3, Measure::Likeness), [1.0, 0.0, 1.0], "one key of none");
    let k = Tensor::from_vec(vec![1f32, 1.0, -1.0, -1.0], (1, 2, 2), &Device::Cpu).unwrap();
    assert_eq!(agreed(&k, 2, Measure::Likeness), [0.0; 2], "a mean of none");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let k = stored(&keys(5, 3, 3000, 64), DType::F16);
    for what in MEASURES {
        let on = |count| Threads::new(count).unwrap().install(|| measured(&k, 2999, what).unwrap());
        assert_eq!(on(1), on(3));
    }
}

#[test]
fn what_is_not_finite_is_named() {
    for (bad, dtype) in [(f32::NAN, DType::F16), (f32::INFINITY, DType::F32), (1e20, DType::F32), (f32::NAN, Q8_0)] {
        let mut numbers = vec![0.5f32; 2 * 300 * 32];
        numbers[(300 + 270) * 32 + 4] = bad;
        let k = stored(&Tensor::from_vec(numbers, (2, 300, 32), &Device::Cpu).unwrap(), dtype);
        for what in MEASURES {
            let refused = measured(&k, 290, what);
            assert!(matches!(refused, Err(Error::NonFinite { op: "keys", index: 560, .. })), "{refused:?}");
            assert!(measured(&k, 270, what).is_ok(), "the entries not in use do not count");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let k = Tensor::zeros((1, 3, 4), DType::F32, &Device::Cpu).unwrap();
    assert!(measured(&k, 4, Measure::Length).is_err());
    assert!(measured(&k.to_dtype(DType::F64).unwrap(), 3, Measure::Length).is_err());
}
