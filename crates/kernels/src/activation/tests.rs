use proptest::prelude::*;

use super::{cpu, reference};
use crate::testing::{assert_close, levels, numbers};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_length_and_size_of_gate_agrees(len in 0usize..3000, size in 0f32..200.0, seed: u64) {
        let gate: Vec<f32> = numbers(seed, len).into_iter().map(|x| x * size).collect();
        let up = numbers(seed ^ 1, len);
        let mut want = vec![0f32; len];
        reference::silu_mul(&gate, &up, &mut want);
        for level in levels() {
            let mut got = gate.clone();
            cpu::gated(level.arch(), &mut got, &up);
            assert_close(&got, &want, 1e-6, 1e-20);
        }
    }
}
