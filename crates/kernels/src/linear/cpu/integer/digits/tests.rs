use proptest::prelude::*;

use super::*;
use crate::linear::cpu::Piece;
use crate::linear::tests::{slack, stored, weight};
use crate::linear::{BlockType, reference};
use crate::output::Output;
use crate::testing::numbers;

/// The products of `x` with a weight; nothing, said aloud, where the processor lacks the instruction.
fn product(digits: Digits, x: &[f32], weight: &Weight) -> Option<Vec<f32>> {
    let Some(simd) = Sdot::find() else {
        skipped!("no dot products of bytes here");
        return None;
    };
    let rows = x.len() / weight.cols();
    let mut out = vec![f32::NAN; rows * weight.rows()];
    let piece = Piece { weight: 0, outputs: 0..weight.rows(), rows: 0..rows };
    // SAFETY: this thread alone writes.
    #[allow(unsafe_code)]
    let to = unsafe { Output::new(&mut out, weight.rows()) };
    Scratch::shared(|shared| {
        let rows = &super::rows(digits, x, weight.cols(), false, shared);
        Scratch::with(|scratch| simd.run(Panels { rows, weight, piece: &piece, out: to, scratch }))
    })
    .unwrap();
    Some(out)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Half a step of each activation times its weight, counted from the middle of its part.
    #[test]
    fn products_miss_by_half_a_step(
        dtype in prop::sample::select(&slack::BYTES[..]),
        rows in 1usize..28,
        outs in 1usize..40,
        blocks in 1usize..4,
        two: bool,
        seed: u64,
    ) {
        let (digits, cols) = (if two { Digits::Two } else { Digits::One }, blocks * dtype.block_size());
        let (w, x) = (weight(seed, dtype, outs, cols), numbers(seed ^ 1, rows * cols));
        let mut want = vec![0f32; rows * outs];
        reference::linear(&x, &w, &mut want).unwrap();
        let Some(got) = product(digits, &x, &w) else { return Ok(()) };
        let slack = slack::of_way(slack::Way::Parts(digits.reach()), &x, cols, &w);
        for (i, ((got, want), slack)) in got.iter().zip(&want).zip(slack).enumerate() {
            prop_assert!((got - want).abs() <= slack, "{dtype:?}, {i}: {got}, not {want} within {slack}");
        }
    }
}

#[test]
fn the_largest_integers_lose_nothing() {
    // Q8_0: a scale of 1 and integers of -128, 127 and what lies between.
    let block =
        |i: usize| [vec![0x00, 0x3c], (0..32).map(|k| [0x80, 0x7f, (k * 37 + i) as u8][k % 3]).collect()].concat();
    let w = stored(BlockType::Q8_0, 9, 64, (0..18).flat_map(block).collect());
    let mut row = vec![0f32; 64];
    for digits in [Digits::One, Digits::Two] {
        let reach = digits.reach();
        // Of their largest the scale is 1, so all are exact; -128, 127 and 128 are where a digit carries.
        let ints = [reach, -reach, reach.min(128.0), (-reach).max(-128.0), 127.0, 1.0, 1.0 - reach, 0.0];
        let x: Vec<f32> = (0..3 * 64).map(|i| ints[(i + i / 64) % ints.len()]).collect();
        let Some(got) = product(digits, &x, &w) else { return };
        for (i, got) in got.into_iter().enumerate() {
            w.dequantize_row(i % 9, &mut row).unwrap();
            let parts = x[i / 9 * 64..]
                .chunks(32)
                .zip(row.chunks(32))
                .map(|(x, w)| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>() as f32);
            assert_eq!(got, parts.sum::<f32>(), "{i}");
        }
    }
}

#[test]
fn a_part_without_numbers_is_without_a_product() {
    let w = weight(3, BlockType::Q4_1, 5, 64);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = numbers(1, 3 * 64);
        x[64 + 40] = bad;
        let Some(got) = product(Digits::Two, &x, &w) else { return };
        assert!(got.iter().enumerate().all(|(i, y)| y.is_nan() == (i / 5 == 1)), "{got:?}");
    }
}
