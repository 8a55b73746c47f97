use proptest::prelude::*;

use super::{add_rms_norm, reference, rms_norm};
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

#[test]
fn rows_without_numbers_have_no_mean() {
    for device in devices() {
        let (x, weight) = (tensor(1, &[3, 0], &device), tensor(2, &[0], &device));
        assert!(rms_norm(&x, &weight, 1e-5).unwrap_err().to_string().contains("weight has 0 values"));
        assert!(add_rms_norm(&x, &x, &weight, 1e-5).unwrap_err().to_string().contains("weight has 0 values"));
    }
}
