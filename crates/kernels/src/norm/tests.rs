use proptest::prelude::*;

use super::{reference, rms_norm};
use crate::testing::{assert_close, devices, flat, tensor};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_shape_agrees(rows in 0usize..200, width in 1usize..700, seed: u64) {
        for device in devices() {
            let (x, weight) = (tensor(seed, &[rows, width], &device), tensor(seed ^ 1, &[width], &device));
            let mut want = vec![0f32; rows * width];
            reference::rms_norm(&flat(&x), &flat(&weight), 1e-5, &mut want);
            assert_close(&flat(&rms_norm(&x, &weight, 1e-5).unwrap()), &want, 1e-5, 1e-3);
        }
    }
}
