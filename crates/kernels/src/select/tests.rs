use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{Choice, Edge, Kept, Pool, contrast, cpu, pool, ranked, reference, select, top_k};
use crate::error::Error;
use crate::testing::{assert_close, devices, levels, numbers};

/// Scores of which many are equal, zeros of both signs among them.
fn scores() -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![
        prop::collection::vec(-1e3f32..1e3, 0..400),
        prop::collection::vec(prop::sample::select(vec![0.0f32, -0.0, 1.0, -1.0, 1.5, 1e-40, -1e-40]), 0..400),
        prop::collection::vec(any::<f32>().prop_filter("finite", |f| f.is_finite()), 0..400),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_radix_choice_is_the_sorted_one(scores in scores(), share in 0f32..1.1) {
        let k = (scores.len() as f32 * share) as usize;
        let want = reference::top_k(&scores, k);
        for level in levels() {
            let got = cpu::top_k(level, &scores, k).unwrap();
            prop_assert_eq!(&got, &want, "{}", level);
        }
        let best = ranked(&scores, k).unwrap();
        let in_order = |pair: &[u32]| {
            let of = |i: usize| scores[pair[i] as usize];
            of(0) > of(1) || (of(0) == of(1) && pair[0] < pair[1])
        };
        prop_assert!(best.windows(2).all(in_order), "{:?}", best);
        prop_assert_eq!(BTreeSet::from_iter(best), BTreeSet::from_iter(want.clone()));
        prop_assert_eq!(top_k(&scores, k).unwrap(), want);
    }

    #[test]
    fn pooling_agrees(len in 0usize..700, reach in prop_oneof![0usize..20, 20usize..400], seed: u64) {
        let scores = numbers(seed, len);
        let width = 2 * reach + 1;
        for (p, scale) in [
            (Pool::Avg { width, edge: Edge::Zero }, 1.0),
            (Pool::Avg { width, edge: Edge::Valid }, 1.0),
            (Pool::Max { width }, 0.0),
        ] {
            let (want, most) = (reference::pool(&scores, p), if scale == 0.0 { 0.0 } else { 1e-6 });
            levels().into_iter().for_each(|level| assert_close(&cpu::pool(level, &scores, p), &want, most, scale));
        }
    }

    #[test]
    fn contrast_is_the_multiple_of_the_mean_around(len in 0usize..400, reach in 0usize..300, seed: u64) {
        let scores: Vec<f32> = numbers(seed, len).iter().map(|score| score.abs()).collect();
        let open: Vec<bool> = (0..len).map(|i| i % 5 != 2).collect();
        let width = 2 * reach + 1;
        let want: Vec<f32> = (0..len).map(|i| {
            let around = i.saturating_sub(reach)..(i + reach + 1).min(len);
            let seen: Vec<f64> = around.filter(|&j| open[j]).map(|j| scores[j].into()).collect();
            let mean = seen.iter().sum::<f64>() / seen.len() as f64;
            if mean > 0.0 { (f64::from(scores[i]) / mean).min(width as f64) as f32 } else { 0.0 }
        }).collect();
        assert_close(&contrast(&scores, &open, width).unwrap(), &want, 1e-5, 1.0);
    }

    #[test]
    fn rows_are_chosen_one_by_one(rows in 1usize..4, entries in 1usize..200, k in 0usize..100, seed: u64) {
        for device in devices() {
            let numbers = numbers(seed, rows * entries);
            let scores = Tensor::from_vec(numbers.clone(), (rows, entries), &device).unwrap();
            let pinned: Vec<bool> = (0..entries).map(|i| i % 7 == 3).collect();
            let choice = Choice { pool: Some(Pool::Avg { width: 5, edge: Edge::Zero }), k, pinned: pinned.clone() };
            for (kept, row) in select(&scores, &choice).unwrap().iter().zip(numbers.chunks_exact(entries)) {
                let pooled = reference::pool(row, choice.pool.unwrap());
                assert_close(&kept.scores, &pooled, 1e-6, 1.0);
                let free: Vec<usize> = (0..entries).filter(|&i| !pinned[i]).collect();
                let candidates: Vec<f32> = free.iter().map(|&i| kept.scores[i]).collect();
                let mut want: Vec<u32> = (0..entries as u32).filter(|&i| pinned[i as usize]).collect();
                want.extend(reference::top_k(&candidates, k).iter().map(|&i| free[i as usize] as u32));
                want.sort_unstable();
                prop_assert_eq!(&kept.indices, &want);
            }
        }
    }
}

#[test]
fn a_long_row_is_chosen_exactly() {
    let scores = numbers(5, 131_072);
    for k in [1, 1024, 100_000] {
        assert_eq!(top_k(&scores, k).unwrap(), reference::top_k(&scores, k));
    }
}

#[test]
fn a_small_score_beside_a_huge_one_survives_pooling() {
    let mut scores = vec![1e-3f32; 400];
    scores[100] = 1e30;
    let out = pool(&scores, Pool::Avg { width: 101, edge: Edge::Valid }).unwrap();
    assert!((out[300] - 1e-3).abs() < 1e-8, "{}", out[300]);
}

#[test]
fn what_is_not_finite_is_named() {
    let bad = [0.0, 1.0, f32::NAN, f32::INFINITY];
    assert!(matches!(top_k(&bad, 2), Err(Error::NonFinite { op: "select", index: 2, value }) if value.is_nan()));
    let scores = Tensor::new(&[[1f32, f32::NEG_INFINITY]], &Device::Cpu).unwrap();
    let choice = Choice { pool: None, k: 1, pinned: vec![] };
    assert!(matches!(select(&scores, &choice), Err(Error::NonFinite { index: 1, .. })));
    assert!(pool(&[1.0], Pool::Max { width: 2 }).is_err());
}

#[test]
fn what_is_not_finite_is_not_smoothed_away() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let named = |got: crate::Result<Vec<f32>>| {
            assert!(matches!(got, Err(Error::NonFinite { op: "select", index: 1, .. })), "{got:?}");
        };
        let scores = [1.0, bad, 1.0];
        for width in [1, 3, 41] {
            named(pool(&scores, Pool::Max { width }));
            named(pool(&scores, Pool::Avg { width, edge: Edge::Valid }));
        }
        named(contrast(&scores, &[true; 3], 3));
        named(contrast(&scores, &[true, false, true], 3));
    }
}

#[test]
fn rows_without_entries_are_rows() {
    for device in devices() {
        let choice = Choice { pool: None, k: 1, pinned: vec![] };
        for (rows, entries) in [(3, 0), (0, 3), (0, 0)] {
            let kept = select(&Tensor::zeros((rows, entries), DType::F32, &device).unwrap(), &choice).unwrap();
            assert_eq!(kept, vec![Kept { indices: vec![], scores: vec![] }; rows]);
        }
    }
}

#[test]
fn contrast_shows_what_stands_out_where_everything_is_faint() {
    // Far away nothing scores more than a thousandth of what is near, the marked entry included.
    let scores = [1e-6, 1e-6, 9e-6, 1e-6, 1e-6, 1e-2, 1e-2, 1e-2, 1e-2, 1e-2];
    let seen = contrast(&scores, &[true; 10], 5).unwrap();
    assert_eq!(top_k(&seen, 1).unwrap(), [2]);
    assert_eq!(top_k(&scores, 1).unwrap(), [5]);
    let hidden = contrast(&[1.0, 0.0, 5.0], &[true, true, false], 3).unwrap();
    assert_eq!(hidden, [2.0, 0.0, 0.0], "what is not open counts for nobody; around the last one nothing is above 0");
    assert_eq!(contrast(&[1.0, 2.0], &[false, false], 3).unwrap(), [0.0, 0.0]);
    assert!(contrast(&[1.0], &[], 3).is_err() && contrast(&[1.0], &[true], 2).is_err());
    assert!(contrast(&[-1.0], &[true], 3).is_err());
}
