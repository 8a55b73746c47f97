use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::{Choice, Edge, Pool, cuda, reference};
use crate::error::Error;
use crate::testing::{each_gpu, numbers, on};

/// Scores of which many are equal, zeros of both signs among them.
fn scores() -> impl Strategy<Value = f32> {
    prop_oneof![
        -1e3f32..1e3,
        prop::sample::select(vec![0.0f32, -0.0, 1.0, -1.0, 1.5, 1e-40, -1e-40]),
        any::<f32>().prop_filter("finite in any sum", |f| f.abs() < 1e30),
    ]
}

fn check(rows: &[Vec<f32>], pool: Option<Pool>, k: usize, pinned: Vec<bool>) {
    let entries = rows[0].len();
    let scores = Tensor::from_vec(rows.concat(), (rows.len(), entries), &Device::Cpu).unwrap();
    let choice = Choice { pool, k, pinned: pinned.clone() };
    each_gpu!(|gpu| {
        let got = cuda::select(gpu, &on(gpu, &scores), &choice).unwrap();
        assert_eq!(got.len(), rows.len());
        for (kept, row) in got.iter().zip(rows) {
            let pooled = pool.map_or_else(|| row.clone(), |pool| reference::pool(row, pool));
            assert_eq!(kept.scores, pooled);
            let free: Vec<usize> = (0..entries).filter(|&i| !pinned.get(i).copied().unwrap_or(false)).collect();
            let candidates: Vec<f32> = free.iter().map(|&i| pooled[i]).collect();
            let mut want: Vec<u32> = (0..entries as u32).filter(|&i| pinned.get(i as usize) == Some(&true)).collect();
            want.extend(reference::top_k(&candidates, k).iter().map(|&i| free[i as usize] as u32));
            want.sort_unstable();
            assert_eq!(kept.indices, want);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_choice_is_the_sorted_one(
        rows in (1usize..4, 1usize..3000).prop_flat_map(|(rows, entries)| {
            prop::collection::vec(prop::collection::vec(scores(), entries..=entries), rows..=rows)
        }),
        reach in prop_oneof![Just(None), (0usize..30).prop_map(Some), Just(Some(5000))],
        kind in 0..3,
        share in 0f32..1.1,
        every in prop_oneof![Just(0usize), 1usize..9],
    ) {
        let pool = reach.map(|reach| match kind {
            0 => Pool::Avg { width: 2 * reach + 1, edge: Edge::Zero },
            1 => Pool::Avg { width: 2 * reach + 1, edge: Edge::Valid },
            _ => Pool::Max { width: 2 * reach + 1 },
        });
        let entries = rows[0].len();
        let pinned = if every == 0 { vec![] } else { (0..entries).map(|i| i % every == 0).collect() };
        check(&rows, pool, (entries as f32 * share) as usize, pinned);
    }
}

#[test]
fn a_row_of_equals_is_cut_at_the_lower_index() {
    check(&[vec![1.0; 5000]], None, 777, vec![]);
    let mut steps = numbers(3, 4000);
    steps.iter_mut().for_each(|s| *s = (*s * 3.0).round());
    for k in [0, 1, 1000, 3999, 4000, 9000] {
        check(std::slice::from_ref(&steps), None, k, vec![]);
    }
}

#[test]
fn what_is_not_finite_is_named() {
    each_gpu!(|gpu| {
        let choice = Choice { pool: Some(Pool::Max { width: 3 }), k: 2, pinned: vec![] };
        for (bad, index) in [(f32::NAN, 2000), (f32::INFINITY, 0), (f32::NEG_INFINITY, 2999)] {
            let mut row = numbers(1, 3000);
            row[index] = bad;
            let all = [numbers(2, 3000), row].concat();
            let scores = Tensor::from_vec(all, (2, 3000), &Device::Cpu).unwrap();
            let got = cuda::select(gpu, &on(gpu, &scores), &choice);
            assert!(matches!(got, Err(Error::NonFinite { op: "select", index: at, .. }) if at == index), "{got:?}");
        }
    });
}
