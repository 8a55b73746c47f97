use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{Form, Heads, Keys, cpu, last_query, reference, scores};
use crate::attention::{Visibility, check};
use crate::cached::{BLOCK, Q8_0};
use crate::error::Error;
use crate::testing::{assert_close, devices, flat, levels, stored, tensor};

fn compare(q: &Tensor, rows: &[u32], k: &Tensor, positions: &[u32], form: Form, visibility: Visibility, heads: &Heads) {
    let keys = Keys { k, positions };
    let sizes = check("scores", q, rows, k, positions).unwrap();
    let scale = 1.0 / (sizes.dim as f32).sqrt();
    let got = scores(q, rows, keys, scale, form, visibility, heads).unwrap();
    assert_eq!(got.dims(), &[heads.rows(sizes.heads, sizes.kv_heads), positions.len()]);
    let host = [q, k].map(|tensor| tensor.to_device(&Device::Cpu).unwrap());
    let keys = Keys { k: &host[1], positions };
    let want = reference::scores(&host[0], rows, keys, scale, form, visibility, heads, sizes).unwrap();
    // Raw scores of many heads and rows cancel: errors are relative to what was added up.
    let most = if form == Form::Raw { (sizes.rows * sizes.heads) as f32 } else { 1.0 };
    assert_close(&flat(&got), &want, 2e-5, most);
    for level in levels() {
        let got = cpu::scores(level, &host[0], rows, keys, scale, form, visibility, heads, sizes).unwrap();
        assert_close(&got, &want, 2e-5, most);
    }
}

pub(super) fn heads(count: usize) -> impl Strategy<Value = Heads> {
    prop_oneof![
        Just(Heads::Sum),
        Just(Heads::Mean),
        Just(Heads::Max),
        Just(Heads::Each),
        Just(Heads::EachKv),
        prop::collection::vec((0..count, -1f32..1.0), 0..4).prop_map(Heads::Listed),
    ]
}

fn cases() -> impl Strategy<Value = (usize, usize, Heads)> {
    (1usize..4, prop_oneof![1usize..6, Just(9usize)])
        .prop_flat_map(|(kv_heads, group)| (Just(kv_heads), Just(group), heads(kv_heads * group)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_agrees_with_the_reference(
        (kv_heads, group, heads) in cases(),
        rows in prop_oneof![0usize..4, 4usize..130],
        dim in prop::sample::select(vec![4usize, 20, 64, 80]),
        entries in prop_oneof![0usize..70, 70usize..1200],
        first_row in 0u32..600,
        raw: bool,
        window in prop_oneof![Just(None), (1u32..300).prop_map(Some)],
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16, Q8_0]),
        seed: u64,
    ) {
        let dim = if dtype == Q8_0 { dim.next_multiple_of(BLOCK) } else { dim };
        let visibility = window.map_or(Visibility::Causal, |width| Visibility::Window { width });
        let form = if raw { Form::Raw } else { Form::Softmax };
        for device in devices() {
            if dtype == Q8_0 && !device.is_cpu() {
                continue;
            }
            let q = tensor(seed, &[rows, kv_heads * group, dim], &device);
            let k = stored(&(tensor(seed ^ 1, &[kv_heads, entries + 3, dim], &device) * 4.0).unwrap(), dtype);
            let positions: Vec<u32> = (0..entries as u32).map(|i| 2 + i * 3 / 2).collect();
            let rows: Vec<u32> = (0..rows as u32).map(|i| first_row + i * 5).collect();
            compare(&q, &rows, &k, &positions, form, visibility, &heads);
        }
    }
}

#[test]
fn column_sums_of_softmax_add_up_to_the_rows() {
    let (rows, heads) = (500, 6);
    let q = tensor(1, &[rows, heads, 32], &Device::Cpu);
    let k = tensor(2, &[2, 500, 32], &Device::Cpu);
    let positions: Vec<u32> = (0..500).collect();
    let keys = Keys { k: &k, positions: &positions };
    let got = scores(&q, &positions, keys, 0.3, Form::Softmax, Visibility::Causal, &Heads::Each).unwrap();
    for head in flat(&got).chunks_exact(500) {
        let total: f32 = head.iter().sum();
        assert!((total - rows as f32).abs() < 1e-2, "{total}");
    }
}

#[test]
fn a_huge_logit_overflows_nothing() {
    let q = Tensor::full(300f32, (1, 2, 16), &Device::Cpu).unwrap();
    let k = (tensor(2, &[1, 64, 16], &Device::Cpu) * 300.0).unwrap();
    let positions: Vec<u32> = (0..64).collect();
    let (keys, seen) = (Keys { k: &k, positions: &positions }, Visibility::Causal);
    let sizes = check("scores", &q, &[63], &k, &positions).unwrap();
    let out = flat(&scores(&q, &[63], keys, 1.0, Form::Softmax, seen, &Heads::Mean).unwrap());
    let plain = reference::scores(&q, &[63], keys, 1.0, Form::Softmax, seen, &Heads::Mean, sizes).unwrap();
    for weights in [out, plain] {
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{weights:?}");
    }
}

#[test]
fn what_is_not_finite_is_named() {
    let positions = [0, 1, 2];
    for (bad, form) in [(f32::NAN, Form::Raw), (f32::INFINITY, Form::Raw), (f32::NAN, Form::Softmax)] {
        let mut numbers = vec![0.5f32; 3 * 16];
        numbers[20] = bad;
        let k = Tensor::from_vec(numbers, (1, 3, 16), &Device::Cpu).unwrap();
        for heads in [Heads::Sum, Heads::Max, Heads::Each] {
            let q = Tensor::full(1f32, (1, 2, 16), &Device::Cpu).unwrap();
            let keys = Keys { k: &k, positions: &positions };
            let got = scores(&q, &[2], keys, 1.0, form, Visibility::Causal, &heads);
            assert!(matches!(got, Err(Error::NonFinite { op: "scores", .. })), "{bad} {form:?} {heads:?}");
        }
    }
}

#[test]
fn what_is_not_listed_spoils_nothing() {
    let positions = [0, 1, 2];
    let q = tensor(1, &[1, 4, 16], &Device::Cpu);
    let mut numbers = flat(&tensor(2, &[2, 3, 16], &Device::Cpu));
    // An entry of the second kv head, which the first two query heads do not read.
    numbers[4 * 16 + 5] = f32::NAN;
    let k = Tensor::from_vec(numbers, (2, 3, 16), &Device::Cpu).unwrap();
    for device in devices() {
        let (q, k) = (q.to_device(&device).unwrap(), k.to_device(&device).unwrap());
        for form in [Form::Raw, Form::Softmax] {
            for list in [vec![(0, 1.0)], vec![(1, -0.5), (3, 0.0)], vec![]] {
                compare(&q, &[2], &k, &positions, form, Visibility::Causal, &Heads::Listed(list));
            }
            let keys = Keys { k: &k, positions: &positions };
            let listed = Heads::Listed(vec![(0, 1.0), (2, 1.0)]);
            assert!(scores(&q, &[2], keys, 1.0, form, Visibility::Causal, &listed).is_err());
        }
    }
}

#[test]
fn plain_numbers_score_as_tensors_do() {
    for (heads, kv_heads, entries, dim) in [(9, 3, 50, 64), (4, 4, 7, 5), (2, 1, 0, 8)] {
        let (q, k) = (tensor(1, &[1, heads, dim], &Device::Cpu), tensor(2, &[kv_heads, entries, dim], &Device::Cpu));
        let positions: Vec<u32> = (0..entries as u32).collect();
        let keys = Keys { k: &k, positions: &positions };
        let want = scores(&q, &[0], keys, 1.0, Form::Raw, Visibility::Causal, &Heads::Sum).unwrap();
        assert_eq!(last_query(&flat(&q), &flat(&k), kv_heads, dim).unwrap(), flat(&want));
    }
    assert!(matches!(last_query(&[1.0], &[0.0, f32::NAN], 1, 1), Err(Error::NonFinite { index: 1, .. })));
    for (q, k, kv_heads, dim) in [(3, 8, 2, 2), (4, 7, 2, 2), (0, 0, 1, 1), (4, 4, 0, 2), (4, 4, 2, usize::MAX)] {
        assert!(last_query(&vec![1.0; q], &vec![1.0; k], kv_heads, dim).is_err(), "{q} {k} {kv_heads} {dim}");
    }
}
