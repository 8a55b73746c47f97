use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::tests::{PLAIN, drawings, stepped};
use super::*;
use crate::error::Error;
use crate::logits::told;
use crate::testing::{each_gpu, on};

/// What the third of four draws gives.
fn compare(logits: &[f32], recent: &[u32], how: &Drawing, random: u64) {
    let mut numbers = logits.to_vec();
    let want = draw(&mut numbers, recent, how, random).unwrap();
    let window: Vec<u32> = std::iter::once(u32::MAX).chain(recent.iter().copied()).collect();
    let draws = [1, 2, random, 3].map(|random: u64| [random as u32, (random >> 32) as u32]);
    each_gpu!(|gpu| {
        let there = |of: &Tensor| on(gpu, of);
        let [recent, randoms, at] = [
            there(&Tensor::new(window.as_slice(), &Device::Cpu).unwrap()),
            there(&Tensor::new(&draws, &Device::Cpu).unwrap()),
            there(&Tensor::new(&[2u32], &Device::Cpu).unwrap()),
        ];
        let logits = there(&Tensor::new(logits, &Device::Cpu).unwrap());
        let from = [&recent, &randoms, &at];
        let got = told(&cuda::draw(gpu, &logits, how, from).unwrap().to_vec1::<u32>().unwrap()).unwrap();
        assert_eq!((got.index, got.value), (want.index, want.value), "{how:?}");
        assert!((got.log_sum - want.log_sum).abs() <= 1e-6 * want.log_sum.abs().max(1.0));
        assert_eq!(logits.to_vec1::<f32>().unwrap(), numbers);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_logits_agree(
        count in 1usize..5000, steps in 1f32..1000.0, spread in 0.01f32..60.0, how in drawings(),
        recent in prop::collection::vec(0u32..300, 0..70), seed: u64, random: u64,
    ) {
        compare(&stepped(seed, count, steps, spread), &recent, &how, random);
    }
}

#[test]
fn the_ends_of_the_random_numbers_and_of_the_cuts_agree() {
    let logits = stepped(3, 3001, 40.0, 9.0);
    for random in [0, u64::MAX] {
        for how in [
            PLAIN,
            Drawing { temperature: 0.0, ..PLAIN },
            Drawing { temperature: 0.0, penalty: 2.0, ..PLAIN },
            Drawing { top_k: 3000, top_p: 1.0 - 1e-15, ..PLAIN },
            Drawing { top_p: 1e-300, min_p: 1.0, ..PLAIN },
        ] {
            compare(&logits, &[5, 7, 5, 3000], &how, random);
            compare(&[1.5; 1030], &[1029], &how, random);
        }
    }
}

#[test]
fn logits_that_are_no_numbers_are_told_and_draw_a_token_of_the_vocabulary() {
    each_gpu!(|gpu| {
        let mut logits = vec![0f32; 500];
        (logits[3], logits[400]) = (9.0, f32::NAN);
        let logits = on(gpu, &Tensor::new(logits, &Device::Cpu).unwrap());
        let [recent, at] = [400u32, 0].map(|of| on(gpu, &Tensor::new(&[of], &Device::Cpu).unwrap()));
        let randoms = on(gpu, &Tensor::new(&[[0u32, 0]], &Device::Cpu).unwrap());
        let from = [&recent, &randoms, &at];
        let how = Drawing { penalty: 2.0, top_p: 0.5, ..PLAIN };
        let words = cuda::draw(gpu, &logits, &how, from).unwrap().to_vec1::<u32>().unwrap();
        assert!(words[0] < 500);
        assert!(matches!(told(&words), Err(Error::NonFinite { index: 400, .. })));
    });
}
