use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{Angles, Pairing, Rotary, reference, rotate, turned};
use crate::cached::{Q8_0, read};
use crate::testing::{assert_close, devices, flat, stored, tensor};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shape_and_pairing_agrees(
        rows in 0usize..150,
        heads in 1usize..10,
        pairs in 1usize..40,
        unrotated in 0usize..3,
        interleaved: bool,
        first in 0u32..200_000,
        seed: u64,
    ) {
        let pairing = if interleaved { Pairing::Interleaved } else { Pairing::Half };
        let dim = 2 * (pairs + unrotated);
        let positions: Vec<u32> = (0..rows as u32).map(|i| first + i * 3).collect();
        for device in devices() {
            let angles = Rotary::plain(1e5, 2 * pairs, pairing).angles(&positions, &device).unwrap();
            let x = tensor(seed, &[rows, heads, dim], &device);
            let mut want = flat(&x);
            reference::rotate(&mut want, heads, dim, &flat(&angles.cos), &flat(&angles.sin), pairing);
            rotate(&x, &angles).unwrap();
            assert_close(&flat(&x), &want, 1e-6, 1.0);
        }
    }
}

#[test]
fn without_rows_or_heads_there_is_nothing_to_rotate() {
    for device in devices() {
        for (rows, heads) in [(0, 3), (1, 0), (2, 0)] {
            let angles = Rotary::plain(1e5, 4, Pairing::Half).angles(&vec![7; rows], &device).unwrap();
            rotate(&tensor(1, &[rows, heads, 4], &device), &angles).unwrap();
        }
    }
}

/// The fast loops are the plain ones, compiled anew: what both do is fixed here.
#[test]
fn pairs_are_turned_by_hand() {
    let [first, second] = [[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]];
    for (pairing, turned) in [
        (Pairing::Half, [[-3f32, -4.0, 1.0, 2.0, 5.0, 6.0], [-18.0, -20.0, 26.0, -40.0, 50.0, 60.0]]),
        (Pairing::Interleaved, [[-2.0, 1.0, -4.0, 3.0, 5.0, 6.0], [-10.0, 20.0, -30.0, -40.0, 50.0, 60.0]]),
    ] {
        // Both pairs by a quarter; one by the angle of a triangle of 3, 4 and 5, the other by half.
        let [cos, sin] = [[0f32, 0.0, 0.6, -1.0], [1.0, 1.0, 0.8, 0.0]]
            .map(|numbers| Tensor::new(&numbers, &Device::Cpu).unwrap().reshape((2, 2)).unwrap());
        // Every row has two heads alike.
        let x = Tensor::new(&[[first, first], [second, second]], &Device::Cpu).unwrap();
        rotate(&x, &Angles { cos, sin, pairing }).unwrap();
        let [first, second] = turned;
        assert_close(&flat(&x), &[first, first, second, second].concat(), 1e-6, 1.0);
    }
}

#[test]
fn angles_stay_exact_far_into_a_text() {
    let rotary = Rotary::plain(1e5, 64, Pairing::Half);
    let positions: Vec<u32> = (0..5000).map(|i| i * 40).collect();
    let angles = rotary.angles(&positions, &candle_core::Device::Cpu).unwrap();
    for ((i, cos), sin) in flat(&angles.cos).into_iter().enumerate().zip(flat(&angles.sin)) {
        let angle = f64::from(positions[i / 32]) * 1e5f64.powf(-2.0 * (i % 32) as f64 / 64.0);
        assert!((f64::from(cos) - angle.cos()).abs() < 1e-7 && (f64::from(sin) - angle.sin()).abs() < 1e-7, "{i}");
    }
}

#[test]
fn moved_keys_of_every_type_turn_in_f32() {
    let by: Vec<i64> = (0..40).map(|i| 3 - i * 7).collect();
    let x = tensor(5, &[2, 40, 64], &Device::Cpu);
    let angles = Rotary::plain(1e4, 64, Pairing::Half).turns(&by, &Device::Cpu).unwrap();
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F16, 1e-3), (DType::BF16, 8e-3), (Q8_0, 8e-3)] {
        let keys = stored(&x, dtype);
        let rows = read(&keys).unwrap().transpose(0, 1).unwrap().force_contiguous().unwrap();
        rotate(&rows, &angles).unwrap();
        let (got, want) = (turned(&keys, &angles).unwrap(), rows.transpose(0, 1).unwrap());
        assert_eq!((got.dtype(), got.dims()), (dtype, keys.dims()));
        assert_close(&flat(&read(&got).unwrap()), &flat(&want), tolerance, 1.4);
    }
}
