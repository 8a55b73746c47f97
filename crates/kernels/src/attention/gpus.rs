use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{Entries, Visibility, check, chunked, cuda, reference};
use crate::testing::{assert_close, each_gpu, flat, on, tensor};

/// The kernels against the textbook, within what their contracts allow.
fn compare(q: &Tensor, rows: &[u32], entries: Entries<'_>, visibility: Visibility) {
    let sizes = check("attention", q, rows, entries.k, entries.positions).unwrap();
    let scale = 1.0 / (sizes.dim as f32).sqrt();
    let want = reference::attention(q, rows, entries, scale, visibility, sizes).unwrap();
    let norm = |of: &Tensor| {
        let all = flat(&of.to_dtype(DType::F32).unwrap());
        all.chunks_exact(sizes.dim).map(|v| v.iter().map(|x| x * x).sum::<f32>().sqrt()).fold(0.0, f32::max)
    };
    let rounding = match (entries.k.dtype(), matches!(sizes.dim, 64 | 96 | 128)) {
        (DType::F16, true) => 0.5f32.powi(11),
        (DType::BF16, true) => 0.5f32.powi(8),
        _ => 0.0,
    };
    // Rounded logits move by no more than this, and weights by its exponential.
    let logits = (rounding * scale * norm(q) * norm(entries.k)).exp() - 1.0;
    let tolerance = 1e-5 + rounding + 2.0 * logits;
    let most = flat(&entries.v.to_dtype(DType::F32).unwrap()).iter().fold(0f32, |most, v| most.max(v.abs()));
    each_gpu!(|gpu| {
        let (q, k, v) = (on(gpu, q), on(gpu, entries.k), on(gpu, entries.v));
        let there = Entries { k: &k, v: &v, ..entries };
        let got = flat(&cuda::attention(gpu, &q, rows, there, scale, visibility, sizes).unwrap());
        let worst = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
        assert!(worst <= tolerance * most, "{worst} of {most}, {tolerance} allowed");
        // The rounding is random, so that the usual error is far below the bound.
        let typical =
            (got.iter().zip(&want).map(|(g, w)| (g - w) * (g - w)).sum::<f32>() / got.len().max(1) as f32).sqrt();
        assert!(typical <= (1e-5 + 3.0 * rounding) * most, "{typical} of {most}");
        assert_close(&got, &want, tolerance, most);
    });
}

fn visibilities() -> impl Strategy<Value = Visibility> {
    prop_oneof![
        Just(Visibility::Causal),
        (1u32..200).prop_map(|width| Visibility::Window { width }),
        prop_oneof![Just(None), (1u32..200).prop_map(Some)].prop_map(|width| Visibility::Anchored { width }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_agrees_with_the_textbook(
        rows in prop_oneof![1usize..4, 4usize..60],
        kv_heads in 1usize..3,
        group in prop_oneof![1usize..5, Just(7usize)],
        dim in prop::sample::select(vec![4usize, 33, 64, 80, 96, 128, 256, 257, 320]),
        entries in prop_oneof![0usize..70, 70usize..400],
        gap in 1u32..4,
        first_row in 0u32..300,
        row_gap in 1u32..9,
        visibility in visibilities(),
        tags in prop::collection::vec(prop::sample::select(vec![0u32, 0, 0, 0, 0, 0, 1, 2]), 400),
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
        seed: u64,
    ) {
        let q = (tensor(seed, &[rows, kv_heads * group, dim], &Device::Cpu) * 3.0).unwrap();
        let shape = [kv_heads, entries + 5, dim];
        let k = (tensor(seed ^ 1, &shape, &Device::Cpu) * 2.0).unwrap().to_dtype(dtype).unwrap();
        let v = tensor(seed ^ 2, &shape, &Device::Cpu).to_dtype(dtype).unwrap();
        let at: Vec<u32> = (0..entries as u32).map(|i| 3 + i * gap).collect();
        let rows: Vec<u32> = (0..rows as u32).map(|i| first_row + i * row_gap).collect();
        compare(&q, &rows, Entries { k: &k, v: &v, positions: &at, tags: &tags[..entries] }, visibility);
    }

    /// The tensor library's operations, in pieces of any size.
    #[test]
    fn pieces_of_any_size_agree_with_the_textbook(
        rows in 1usize..40,
        kv_heads in 1usize..3,
        group in 1usize..4,
        dim in prop::sample::select(vec![3usize, 32, 300]),
        entries in 1usize..120,
        gap in 1u32..4,
        first_row in 0u32..150,
        visibility in visibilities(),
        tags in prop::collection::vec(prop::sample::select(vec![0u32, 0, 0, 0, 1, 2]), 120),
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
        piece in (1usize..50, 1usize..130),
        seed: u64,
    ) {
        let q = (tensor(seed, &[rows, kv_heads * group, dim], &Device::Cpu) * 3.0).unwrap();
        let shape = [kv_heads, entries + 5, dim];
        let k = (tensor(seed ^ 1, &shape, &Device::Cpu) * 2.0).unwrap().to_dtype(dtype).unwrap();
        let v = tensor(seed ^ 2, &shape, &Device::Cpu).to_dtype(dtype).unwrap();
        let at: Vec<u32> = (0..entries as u32).map(|i| 3 + i * gap).collect();
        let rows: Vec<u32> = (0..rows as u32).map(|i| first_row + i * 3).collect();
        let entries = Entries { k: &k, v: &v, positions: &at, tags: &tags[..entries] };
        let sizes = check("attention", &q, &rows, &k, &at).unwrap();
        let scale = 1.0 / (dim as f32).sqrt();
        let want = reference::attention(&q, &rows, entries, scale, visibility, sizes).unwrap();
        each_gpu!(|gpu| {
            let (q, k, v) = (on(gpu, &q), on(gpu, &k), on(gpu, &v));
            let there = Entries { k: &k, v: &v, ..entries };
            let seen = cuda::Seen::of(gpu, visibility, &rows, &at, entries.tags).unwrap();
            let got = chunked::attention(gpu, &q, there, &seen, scale, sizes, piece).unwrap();
            assert_close(&flat(&got), &want, 1e-5, 1.0);
        });
    }
}

#[test]
fn shares_of_long_contexts_are_merged() {
    let positions: Vec<u32> = (0..1500).collect();
    for (rows, dim, dtype) in [(1, 64, DType::F16), (1, 128, DType::BF16), (3, 64, DType::F32), (20, 96, DType::F16)] {
        let q = (tensor(1, &[rows, 6, dim], &Device::Cpu) * 3.0).unwrap();
        let k = tensor(2, &[2, 1500, dim], &Device::Cpu).to_dtype(dtype).unwrap();
        let v = tensor(3, &[2, 1500, dim], &Device::Cpu).to_dtype(dtype).unwrap();
        let last: Vec<u32> = (1500 - rows as u32..1500).collect();
        let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
        for visibility in [Visibility::Causal, Visibility::Window { width: 1000 }] {
            compare(&q, &last, entries, visibility);
        }
    }
}

#[test]
fn rows_far_apart_share_tiles() {
    let positions: Vec<u32> = (0..500).collect();
    for (dim, dtype) in [(64, DType::F16), (20, DType::F32)] {
        let q = tensor(1, &[120, 4, dim], &Device::Cpu);
        let k = tensor(2, &[4, 500, dim], &Device::Cpu).to_dtype(dtype).unwrap();
        let v = tensor(3, &[4, 500, dim], &Device::Cpu).to_dtype(dtype).unwrap();
        let rows: Vec<u32> = (0..120).map(|i| 20 + i * 4).collect();
        let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
        for visibility in [Visibility::Causal, Visibility::Window { width: 150 }] {
            compare(&q, &rows, entries, visibility);
        }
    }
}

#[test]
fn rows_in_any_order_see_by_position() {
    for (dim, dtype) in [(64, DType::BF16), (32, DType::F32)] {
        let q = tensor(1, &[6, 4, dim], &Device::Cpu);
        let k = tensor(2, &[2, 90, dim], &Device::Cpu).to_dtype(dtype).unwrap();
        let v = tensor(3, &[2, 90, dim], &Device::Cpu).to_dtype(dtype).unwrap();
        let positions: Vec<u32> = (10..100).collect();
        let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
        for visibility in [Visibility::Causal, Visibility::Window { width: 7 }] {
            compare(&q, &[50, 3, 200, 11, 10, 99], entries, visibility);
        }
    }
}

#[test]
fn queries_that_are_not_f32_are_refused() {
    each_gpu!(|gpu| {
        let q = on(gpu, &tensor(1, &[1, 2, 64], &Device::Cpu).to_dtype(DType::F16).unwrap());
        let k = on(gpu, &tensor(2, &[1, 9, 64], &Device::Cpu));
        let sizes = check("attention", &q, &[8], &k, &[]).unwrap();
        let positions: Vec<u32> = (0..9).collect();
        let seen = cuda::Seen::of(gpu, Visibility::Causal, &[8], &positions, &[]).unwrap();
        assert!(cuda::attend(gpu, &q, [&k, &k], &seen, 1.0, sizes, None).is_err());
    });
}

/// What a row does not see spoils nothing, and what it sees shows.
#[test]
fn no_nan_becomes_a_number() {
    each_gpu!(|gpu| {
        let (rows, positions): (Vec<u32>, Vec<u32>) = ((100..200).collect(), (0..200).collect());
        for (dtype, dim) in [(DType::F32, 64), (DType::F16, 64), (DType::F32, 300)] {
            let q = tensor(1, &[100, 1, dim], &Device::Cpu);
            let mut keys = crate::testing::numbers(2, 200 * dim);
            keys[150 * dim + 3] = f32::NAN;
            let k = Tensor::from_vec(keys, (1, 200, dim), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let v = tensor(3, &[1, 200, dim], &Device::Cpu).to_dtype(dtype).unwrap();
            let (q, k, v) = (on(gpu, &q), on(gpu, &k), on(gpu, &v));
            let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
            let sizes = check("attention", &q, &rows, &k, &positions).unwrap();
            let got = cuda::attention(gpu, &q, &rows, entries, 0.125, Visibility::Causal, sizes).unwrap();
            for (row, got) in flat(&got).chunks_exact(dim).enumerate() {
                let finite = got.iter().filter(|o| o.is_finite()).count();
                assert!(finite == if row >= 50 { 0 } else { dim }, "{dtype:?} row {row}: {finite} finite");
            }
        }
    });
}
