use proptest::prelude::*;

use super::*;
use crate::testing::numbers;

pub(super) const PLAIN: Drawing = Drawing { penalty: 1.0, temperature: 1.0, top_k: usize::MAX, top_p: 1.0, min_p: 0.0 };

/// Ways to draw, many of whose cuts fall among equals.
pub(super) fn drawings() -> impl Strategy<Value = Drawing> {
    let temperature = prop_oneof![0.05f64..3.0, Just(1e-300), Just(1e12)];
    let top_k = prop_oneof![1usize..60, Just(usize::MAX)];
    let top_p = prop_oneof![0.01f64..1.0, Just(1.0), Just(1e-12)];
    let min_p = prop_oneof![0.0f64..1.0, Just(0.0), Just(1.0)];
    (prop_oneof![Just(1.0), 0.5f64..3.0], temperature, top_k, top_p, min_p)
        .prop_map(|(penalty, temperature, top_k, top_p, min_p)| Drawing { penalty, temperature, top_k, top_p, min_p })
}

/// Logits of which many are equal where there are few steps.
pub(super) fn stepped(seed: u64, count: usize, steps: f32, spread: f32) -> Vec<f32> {
    numbers(seed, count).iter().map(|v| (v * steps).round() / steps * spread).collect()
}

proptest! {
    #[test]
    fn all_numbers_draw_what_sorting_draws(
        count in 1usize..400, steps in 1f32..100.0, spread in 0.01f32..60.0, how in drawings(), seed: u64, random: u64,
    ) {
        let logits = stepped(seed, count, steps, spread);
        for random in [random, 0, u64::MAX] {
            prop_assert_eq!(cpu::draw(&logits, &how, random), reference::draw(&logits, &how, random));
        }
    }
}

#[test]
fn each_token_has_its_share_of_the_random_numbers() {
    let logits = [0.1f32, 0.2, 0.3, 0.4].map(f32::ln);
    let drawn = |how: Drawing, random: f64| cpu::draw(&logits, &how, (random * 2f64.powi(64)) as u64);
    let firsts = |how: Drawing| (0..1000).map(|i| drawn(how, f64::from(i) / 1000.0)).collect::<Vec<_>>();
    let counts = |how: Drawing| [0, 1, 2, 3].map(|id| firsts(how).into_iter().filter(|&drawn| drawn == id).count());
    assert_eq!(counts(PLAIN), [100, 200, 300, 400]);
    assert!(firsts(PLAIN).is_sorted(), "in the order of ids");
    for how in [
        Drawing { top_k: 2, ..PLAIN },
        Drawing { top_p: 0.65, ..PLAIN },
        Drawing { min_p: 0.6, ..PLAIN },
        // Of the two that are left, both are needed.
        Drawing { top_k: 2, top_p: 0.58, ..PLAIN },
    ] {
        assert_eq!(counts(how), [0, 0, 429, 571], "{how:?}");
    }
    assert_eq!(counts(Drawing { top_k: 2, top_p: 0.57, ..PLAIN }), [0, 0, 0, 1000]);
    assert_eq!(counts(Drawing { temperature: 0.5, ..PLAIN }), [34, 133, 300, 533]);
}

#[test]
fn of_equals_the_lower_ones_are_left() {
    let even = |how: Drawing| [0, u64::MAX].map(|random| cpu::draw(&[2.0; 50], &how, random));
    assert_eq!(even(PLAIN), [0, 49]);
    assert_eq!(even(Drawing { top_k: 7, ..PLAIN }), [0, 6]);
    assert_eq!(even(Drawing { top_p: 0.5, ..PLAIN }), [0, 24]);
}

#[test]
fn without_a_cut_even_the_least_weight_of_a_large_total_is_left() {
    // Weights of 2^40 each, and one of 1: together more than f64 counts one by one.
    let mut logits = vec![0f32; 16385];
    logits[16384] = -27.726;
    for how in [PLAIN, Drawing { top_p: 1.0, min_p: 1e-300, ..PLAIN }] {
        let drawn = [cpu::draw, reference::draw].map(|draw| draw(&logits, &how, u64::MAX));
        assert_eq!(drawn, [16384; 2], "{how:?}");
    }
}

#[test]
fn the_penalty_changes_logits_once_and_the_answer_tells_the_model_s_own() {
    let mut logits = [2.0, 1.0, -1.0];
    let how = Drawing { penalty: 4.0, top_k: 1, ..PLAIN };
    let pick = draw(&mut logits, &[0, 0, 2, 3, 99], &how, 0).unwrap();
    assert_eq!((logits, pick.index, pick.value), ([0.5, 1.0, -4.0], 1, 1.0));
    let sum = 2f64.exp() + 1f64.exp() + (-1f64).exp();
    assert!((pick.log_sum - sum.ln()).abs() < 1e-6);
    assert!((f64::from(pick.log_probability()) - (1.0 - sum.ln())).abs() < 1e-6);
    let greedy = Drawing { temperature: 0.0, ..how };
    let pick = draw(&mut [2.0, 1.0, 1.0], &[0], &greedy, u64::MAX).unwrap();
    assert_eq!((pick.index, pick.value), (1, 1.0));
    let pick = draw(&mut [2.0, 0.25, 0.5], &[0], &greedy, u64::MAX).unwrap();
    assert_eq!((pick.index, pick.value), (0, 2.0));
}

#[test]
fn what_cannot_be_drawn_from_is_refused() {
    assert!(draw(&mut [], &[], &PLAIN, 0).is_err());
    assert!(draw(&mut vec![0.0; MOST + 1], &[], &PLAIN, 0).is_err());
    assert!(draw(&mut [0.0, f32::NAN], &[], &PLAIN, 0).is_err());
    assert_eq!(draw(&mut vec![0.0; MOST], &[], &PLAIN, u64::MAX).unwrap().index, MOST - 1);
}
