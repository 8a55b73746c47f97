use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::tests::heads;
use super::{Form, Heads, Keys, cuda, reference};
use crate::attention::{Visibility, check};
use crate::error::Error;
use crate::gpu::Gpu;
use crate::testing::{assert_close, each_gpu, flat, on, tensor};

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_agrees_with_the_reference(
        (kv_heads, group, heads) in (1usize..3, 1usize..5).prop_flat_map(|(kv, g)| (Just(kv), Just(g), heads(kv * g))),
        rows in prop_oneof![0usize..4, 4usize..100],
        dim in prop::sample::select(vec![4usize, 20, 64, 80]),
        entries in prop_oneof![0usize..70, 70usize..700],
        first_row in 0u32..400,
        raw: bool,
        window in prop_oneof![Just(None), (1u32..300).prop_map(Some)],
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
        seed: u64,
    ) {
        let visibility = window.map_or(Visibility::Causal, |width| Visibility::Window { width });
        let form = if raw { Form::Raw } else { Form::Softmax };
        let q = tensor(seed, &[rows, kv_heads * group, dim], &Device::Cpu);
        let k = tensor(seed ^ 1, &[kv_heads, entries + 3, dim], &Device::Cpu);
        let k = (k * 4.0).unwrap().to_dtype(dtype).unwrap();
        let positions: Vec<u32> = (0..entries as u32).map(|i| 2 + i * 3 / 2).collect();
        let rows: Vec<u32> = (0..rows as u32).map(|i| first_row + i * 5).collect();
        let keys = Keys { k: &k, positions: &positions };
        let sizes = check("scores", &q, &rows, &k, &positions).unwrap();
        let scale = 1.0 / (dim as f32).sqrt();
        let want = reference::scores(&q, &rows, keys, scale, form, visibility, &heads, sizes).unwrap();
        let most = if raw { (sizes.rows * sizes.heads) as f32 } else { 1.0 };
        each_gpu!(|gpu| {
            let (q, k) = (on(gpu, &q), on(gpu, &k));
            let keys = Keys { k: &k, positions: &positions };
            let got = cuda::scores(gpu, &q, &rows, keys, scale, form, visibility, &heads, sizes).unwrap();
            assert_eq!(got.dims(), &[heads.rows(sizes.heads, kv_heads), entries]);
            assert_close(&flat(&got), &want, 2e-5, most);
        });
    }
}

#[test]
fn what_is_not_listed_spoils_nothing() {
    each_gpu!(|gpu| {
        let positions: Vec<u32> = (0..100).collect();
        let q = tensor(1, &[1, 4, 16], &Device::Cpu);
        let mut numbers = flat(&tensor(2, &[2, 100, 16], &Device::Cpu));
        numbers[170 * 16 + 5] = f32::INFINITY;
        let k = Tensor::from_vec(numbers, (2, 100, 16), &Device::Cpu).unwrap();
        let sizes = check("scores", &q, &[99], &k, &positions).unwrap();
        let visibility = Visibility::Causal;
        for form in [Form::Raw, Form::Softmax] {
            for list in [vec![(0, 1.0)], vec![(1, -0.5), (3, 0.0)], vec![]] {
                let heads = Heads::Listed(list);
                let keys = Keys { k: &k, positions: &positions };
                let want = reference::scores(&q, &[99], keys, 1.0, form, visibility, &heads, sizes).unwrap();
                let (q, k) = (on(gpu, &q), on(gpu, &k));
                let keys = Keys { k: &k, positions: &positions };
                let got = cuda::scores(gpu, &q, &[99], keys, 1.0, form, visibility, &heads, sizes).unwrap();
                assert_close(&flat(&got), &want, 2e-5, 1.0);
            }
        }
    });
}

#[test]
fn what_is_not_finite_is_named() {
    each_gpu!(|gpu| {
        let positions: Vec<u32> = (0..100).collect();
        for (bad, form) in [(f32::NAN, Form::Raw), (f32::INFINITY, Form::Raw), (f32::NAN, Form::Softmax)] {
            let mut numbers = vec![0.5f32; 100 * 16];
            numbers[70 * 16 + 4] = bad;
            let k = Tensor::from_vec(numbers, (1, 100, 16), gpu.device()).unwrap();
            let q = Tensor::full(1f32, (1, 2, 16), gpu.device()).unwrap();
            let keys = Keys { k: &k, positions: &positions };
            let sizes = check("scores", &q, &[99], &k, &positions).unwrap();
            for heads in [Heads::Sum, Heads::Max, Heads::Each] {
                let got = cuda::scores(gpu, &q, &[99], keys, 1.0, form, Visibility::Causal, &heads, sizes);
                let named = if form == Form::Raw { 70 } else { 0 };
                assert!(matches!(got, Err(Error::NonFinite { op: "scores", index, .. }) if index == named), "{got:?}");
            }
        }
    });
}
