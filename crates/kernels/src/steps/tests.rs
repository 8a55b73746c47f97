use candle_core::{DType, Tensor};

use super::{Steps, record};
use crate::attention::{Entries, Reach, Visibility, attention, attention_ahead};
use crate::cached::{self, Q8_0};
use crate::draw::{Drawing, draw};
use crate::error::Error;
use crate::linear::{Weight, embed, embed_ahead};
use crate::logits::top;
use crate::rope::{Pairing, Rotary, rotate, rotate_ahead};
use crate::testing::{devices, flat, numbers, stored, tensor};

fn turned(steps: &Steps, times: usize) {
    for _ in 0..times {
        steps.turn(&tensor(1, &[1, 9], steps.token.device())).unwrap();
    }
}

#[test]
fn what_steps_tell_is_what_their_logits_tell() {
    for device in devices() {
        let steps = Steps::new(7, 3, &device).unwrap();
        let mut all = Vec::new();
        for seed in 0..4 {
            let logits = tensor(seed, &[1, 50], &device);
            steps.turn(&logits).unwrap();
            all.push(top(&flat(&logits)).unwrap());
        }
        // The fourth had no room.
        for (got, want) in steps.read(0..3).unwrap().into_iter().map(Result::unwrap).zip(&all) {
            assert_eq!((got.index, got.value), (want.index, want.value));
            assert!((got.log_sum - want.log_sum).abs() < 1e-6);
        }
        assert_eq!(steps.token.to_vec1::<u32>().unwrap(), [all[2].index as u32]);
        assert!(Steps::new(7, 0, &device).is_err());

        let steps = Steps::new(7, 1, &device).unwrap();
        steps.turn(&Tensor::new(&[0f32, f32::NAN, 1.0], &device).unwrap()).unwrap();
        let told = steps.read(0..1).unwrap().remove(0);
        assert!(matches!(told, Err(Error::NonFinite { index: 1, value, .. }) if value.is_nan()), "{told:?}");
    }
}

const DRAWING: Drawing = Drawing { penalty: 1.7, temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.01 };

/// Random numbers, many of them large.
fn randoms(count: u64) -> Vec<u64> {
    (1..=count).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
}

#[test]
fn drawn_steps_look_back_on_the_last_tokens() {
    for device in devices() {
        for (first, window) in [(vec![7], 3), (vec![4, 9, 7], 3), (vec![7, 7], 64)] {
            let (randoms, mut seen) = (randoms(20), first.clone());
            let steps = Steps::drawing(DRAWING, &first, window, &randoms, &device).unwrap();
            assert_eq!(steps.token().unwrap(), 7);
            for (seed, random) in (0..).zip(&randoms) {
                let logits = (tensor(seed, &[1, 50], &device) * 2.0).unwrap();
                let mut numbers = flat(&logits);
                steps.turn(&logits).unwrap();
                let recent = &seen[seen.len().saturating_sub(window)..];
                let want = draw(&mut numbers, recent, &DRAWING, *random).unwrap();
                let got = steps.read(seed as usize..seed as usize + 1).unwrap().remove(0).unwrap();
                assert_eq!((got.index, got.value), (want.index, want.value), "step {seed}");
                assert!((got.log_sum - want.log_sum).abs() < 1e-6);
                assert_eq!(steps.token().unwrap(), want.index as u32);
                seen.push(want.index as u32);
            }
        }
        for (recent, window, count) in [(vec![], 3, 4), (vec![1; 4], 3, 4), (vec![1], 3, 0), (vec![1], 1025, 4)] {
            assert!(Steps::drawing(DRAWING, &recent, window, &randoms(count), &device).is_err());
        }
    }
}

/// On the CPU by the numbers of the step, on a GPU by the counter.
#[test]
fn a_step_ahead_is_an_ordinary_step() {
    for device in devices() {
        let steps = Steps::new(7, 4, &device).unwrap();
        turned(&steps, 2);
        let token = steps.token.to_vec1::<u32>().unwrap();

        let weight = Weight::from_f32(numbers(3, 9 * 6), 9, 6).unwrap();
        assert_eq!(flat(&embed_ahead(&steps, &weight).unwrap()), flat(&embed(&token, &weight, &device).unwrap()));

        let rotary = Rotary::plain(1e4, 64, Pairing::Half);
        let angles = rotary.angles(&[40, 41, 42, 43], &device).unwrap();
        let [x, want] = [0; 2].map(|_| tensor(5, &[1, 3, 64], &device));
        rotate_ahead(&x, &angles, &steps).unwrap();
        rotate(&want, &rotary.angles(&[42], &device).unwrap()).unwrap();
        assert_eq!(flat(&x), flat(&want));
        assert!(rotate_ahead(&x, &angles.rows(0, 3).unwrap(), &steps).is_err(), "angles for three of four steps");

        for dtype in [DType::F32, DType::F16, DType::BF16, Q8_0] {
            if dtype == Q8_0 && !device.is_cpu() {
                continue;
            }
            let old = tensor(6, &[2, 12, 64], &device);
            let ([k, want], v) = ([0; 2].map(|_| stored(&old, dtype)), stored(&old, dtype));
            let new = tensor(8, &[1, 3, 64], &device);
            cached::write_ahead(&k, 8, &new, 1..3, &steps).unwrap();
            cached::write(&want, 10, &new, 1..3).unwrap();
            let all = |of: &Tensor| flat(&cached::read(of).unwrap());
            assert_eq!(all(&k), all(&want), "{dtype:?}");
            assert!(cached::write_ahead(&k, 9, &new, 1..3, &steps).is_err(), "the fourth step has no room");

            let q = tensor(9, &[1, 4, 64], &device);
            let positions: Vec<u32> = (0..11).map(|i| i * i).collect();
            for visibility in [Visibility::Causal, Visibility::Window { width: 50 }] {
                // The third step's entry is the eleventh.
                let range = visibility.range(100, &positions);
                let reach = Reach::new(vec![0..1, 0..2, range, 0..12], &device).unwrap();
                let got = attention_ahead(&q, &k, &v, &reach, 0.2, &steps).unwrap();
                let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
                assert_eq!(flat(&got), flat(&attention(&q, &[100], entries, 0.2, visibility).unwrap()));
            }
            let reach = Reach::new(vec![0..1, 0..2, 0..3, 0..4], &device).unwrap();
            let other = v.to_dtype(DType::F64).unwrap();
            assert!(attention_ahead(&q, &k, &other, &reach, 0.2, &steps).is_err(), "keys and values of two types");
            let half = q.to_dtype(DType::F16).unwrap();
            assert!(attention_ahead(&half, &k, &v, &reach, 0.2, &steps).is_err(), "queries that are not f32");
            let short = Reach::new(vec![0..1, 0..2, 0..3], &device).unwrap();
            assert!(attention_ahead(&q, &k, &v, &short, 0.2, &steps).is_err());
        }
        assert!(Reach::new(vec![0..1, 3..3], &device).is_err());
    }
}

#[test]
fn a_recorded_step_is_done_once_and_again_when_it_runs() {
    for device in devices() {
        let steps = Steps::new(0, 5, &device).unwrap();
        let logits = tensor(4, &[1, 300], &device);
        let mut again = record(&device, || steps.turn(&logits)).unwrap();
        let done = || steps.at.to_vec1::<u32>().unwrap()[0];
        assert_eq!(done(), 1);
        for ran in 2..5 {
            again.run().unwrap();
            assert_eq!(done(), ran);
        }
        let failed = record(&device, || Err(Error::Unsupported { op: "test", what: "this".into() }));
        assert!(failed.is_err());
    }
}
