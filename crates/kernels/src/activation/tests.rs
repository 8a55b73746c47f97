use proptest::prelude::*;

use super::{reference, silu_mul};
use crate::testing::{assert_close, devices, flat, tensor};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shape_and_size_of_gate_agrees(rows in 0usize..200, width in 1usize..700, size in 0f64..200.0, seed: u64) {
        for device in devices() {
            let gate = (tensor(seed, &[rows, width], &device) * size).unwrap();
            let up = tensor(seed ^ 1, &[rows, width], &device);
            let mut want = vec![0f32; rows * width];
            reference::silu_mul(&flat(&gate), &flat(&up), &mut want);
            assert_close(&flat(&silu_mul(&gate, &up).unwrap()), &want, 1e-6, 1e-20);
        }
    }
}
