mod anchors;

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{Entries, Sizes, Visibility, attention, check, cpu, reference};
use crate::cached::{BLOCK, Q8_0, read};
use crate::testing::{assert_close, flat, levels, numbers, stored, tensor};

fn longest(vectors: &Tensor, dim: usize) -> f32 {
    let all = flat(&read(vectors).unwrap());
    all.chunks_exact(dim).map(|v| v.iter().map(|x| x * x).sum::<f32>().sqrt()).fold(0.0, f32::max)
}

/// Every level against the textbook.
fn compare(q: &Tensor, rows: &[u32], k: &Tensor, v: &Tensor, positions: &[u32], visibility: Visibility) {
    let entries = Entries { k, v, positions, tags: &[] };
    let sizes: Sizes = check("attention", q, rows, k, positions).unwrap();
    let scale = 1.0 / (sizes.dim as f32).sqrt();
    let want = reference::attention(q, rows, entries, scale, visibility, sizes).unwrap();
    // Relative to what an output can be, not to what cancels to it.
    let most = flat(&read(v).unwrap()).iter().fold(0f32, |most, v| most.max(v.abs()));
    let many = sizes.rows * sizes.group() >= 64 && sizes.dim.is_multiple_of(2) && k.dtype() != DType::F32;
    let rounded = 2e-4 + 4e-5 * scale * longest(q, sizes.dim) * longest(k, sizes.dim);
    let ordered = 1e-5f32.max(2e-8 * positions.len() as f32);
    for level in levels() {
        let got = cpu::attention(level, q, rows, entries, scale, visibility, sizes).unwrap();
        assert_close(&got, &want, if level.integers().is_some() && many { rounded } else { ordered }, most);
        for (row, &position) in rows.iter().enumerate() {
            if visibility.range(position, positions).is_empty() {
                let width = sizes.heads * sizes.dim;
                assert!(got[row * width..(row + 1) * width].iter().all(|&o| o == 0.0), "row {row} sees nothing");
            }
        }
    }
}

fn visibilities() -> impl Strategy<Value = Visibility> {
    prop_oneof![Just(Visibility::Causal), (1u32..200).prop_map(|width| Visibility::Window { width })]
}

/// Ascending positions with gaps.
fn spread(count: usize, gap: u32, from: u32) -> Vec<u32> {
    (0..count as u32).map(|i| from + i * gap + i * 7 % gap.max(1)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_agrees_with_the_textbook(
        rows in prop_oneof![0usize..4, 4usize..90],
        kv_heads in 1usize..4,
        group in prop_oneof![1usize..5, Just(7usize), Just(16usize)],
        dim in prop::sample::select(vec![2usize, 4, 16, 20, 33, 64, 80, 96, 256]),
        entries in prop_oneof![0usize..70, 70usize..700],
        gap in 1u32..4,
        first_row in 0u32..400,
        row_gap in 1u32..9,
        visibility in visibilities(),
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16, Q8_0]),
        seed: u64,
    ) {
        let dim = if dtype == Q8_0 { dim.next_multiple_of(BLOCK) } else { dim };
        let q = (tensor(seed, &[rows, kv_heads * group, dim], &Device::Cpu) * 3.0).unwrap();
        let shape = [kv_heads, entries + 5, dim];
        let k = stored(&(tensor(seed ^ 1, &shape, &Device::Cpu) * 2.0).unwrap(), dtype);
        let v = stored(&tensor(seed ^ 2, &shape, &Device::Cpu), dtype);
        compare(&q, &spread(rows, row_gap, first_row), &k, &v, &spread(entries, gap, 3), visibility);
    }
}

#[test]
fn heads_without_numbers_and_no_heads_are_refused() {
    for (heads, kv_heads, dim) in [(4, 1, 0), (0, 1, 64), (4, 0, 64), (4, 3, 64)] {
        let q = Tensor::zeros((1, heads, dim), DType::F32, &Device::Cpu).unwrap();
        let k = Tensor::zeros((kv_heads, 4, dim), DType::F32, &Device::Cpu).unwrap();
        let entries = Entries { k: &k, v: &k, positions: &[0, 1], tags: &[] };
        assert!(attention(&q, &[1], entries, 1.0, Visibility::Causal).is_err(), "{heads} {kv_heads} {dim}");
        let keys = crate::scores::Keys { k: &k, positions: &[0, 1] };
        let (form, all) = (crate::scores::Form::Raw, crate::scores::Heads::Sum);
        assert!(crate::scores::scores(&q, &[1], keys, 1.0, form, Visibility::Causal, &all).is_err());
    }
}

#[test]
fn long_contexts_split_over_threads_agree() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
    for (rows, dtype) in [
        (1, DType::F16),
        (1, Q8_0),
        (2, DType::F32),
        (20, DType::F16),
        (200, DType::BF16),
        (200, Q8_0),
        (700, DType::F16),
    ] {
        let q = tensor(1, &[rows, 9, 64], &Device::Cpu);
        let k = stored(&tensor(2, &[3, 2100, 64], &Device::Cpu), dtype);
        let v = stored(&tensor(3, &[3, 2100, 64], &Device::Cpu), dtype);
        let positions: Vec<u32> = (0..2100).collect();
        let last: Vec<u32> = (2100 - rows as u32..2100).collect();
        for visibility in [Visibility::Causal, Visibility::Window { width: 1000 }] {
            pool.install(|| compare(&q, &last, &k, &v, &positions, visibility));
        }
    }
}

#[test]
fn rows_in_any_order_see_by_position() {
    let q = tensor(1, &[6, 4, 32], &Device::Cpu);
    let (k, v) = (tensor(2, &[2, 90, 32], &Device::Cpu), tensor(3, &[2, 90, 32], &Device::Cpu));
    let positions: Vec<u32> = (10..100).collect();
    for visibility in [Visibility::Causal, Visibility::Window { width: 7 }] {
        compare(&q, &[50, 3, 200, 11, 10, 99], &k, &v, &positions, visibility);
    }
}

#[test]
fn a_huge_logit_overflows_nothing() {
    let q = Tensor::full(300f32, (40, 2, 16), &Device::Cpu).unwrap();
    let k = tensor(2, &[1, 64, 16], &Device::Cpu);
    let k = (k * 300.0).unwrap();
    let v = tensor(3, &[1, 64, 16], &Device::Cpu);
    let (rows, positions): (Vec<u32>, Vec<u32>) = ((30..70).collect(), (0..64).collect());
    let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
    let sizes = check("attention", &q, &rows, &k, &positions).unwrap();
    let out = flat(&attention(&q, &rows, entries, 1.0, Visibility::Causal).unwrap());
    let plain = reference::attention(&q, &rows, entries, 1.0, Visibility::Causal, sizes).unwrap();
    assert!(out.iter().chain(&plain).all(|o| o.is_finite() && o.abs() <= 1.0));
}

/// Entries whose logit for a query of ones is `logits`, and values that differ from entry to entry.
fn chosen(logits: &[f32], dim: usize) -> (Tensor, Tensor) {
    let step = (dim as f32).sqrt() / dim as f32;
    let k: Vec<f32> = logits.iter().flat_map(|&logit| vec![logit * step; dim]).collect();
    let v = tensor(7, &[1, logits.len(), dim], &Device::Cpu).to_dtype(DType::F16).unwrap();
    (Tensor::from_vec(k, (1, logits.len(), dim), &Device::Cpu).unwrap().to_dtype(DType::F16).unwrap(), v)
}

#[test]
fn peaked_flat_and_sunken_weights_agree() {
    let n = 3000usize;
    let positions: Vec<u32> = (0..n as u32).collect();
    let rows: Vec<u32> = (n as u32 - 80..n as u32).collect();
    let shapes: [(&str, &dyn Fn(usize) -> f32); 5] = [
        ("flat", &|_| 0.0),
        ("one takes all", &|e| if e == 1234 { 40.0 } else { 0.0 }),
        // The first has about half of all weight, and each other so little beside it that a
        // coarser rounding would lose them all.
        ("a sink", &|e| if e == 0 { 8.0 } else { 0.0 }),
        ("two in one block", &|e| if e == 640 || e == 690 { 9.0 } else { -3.0 }),
        ("rising", &|e| e as f32 / 200.0),
    ];
    for (name, logit) in shapes {
        println!("{name}");
        for dim in [64, 128] {
            let (k, v) = chosen(&(0..n).map(logit).collect::<Vec<_>>(), dim);
            let q = Tensor::ones((80, 2, dim), DType::F32, &Device::Cpu).unwrap();
            for visibility in [Visibility::Causal, Visibility::Window { width: 1900 }] {
                compare(&q, &rows, &k, &v, &positions, visibility);
            }
        }
    }
}

/// With equal values every output is that value, whatever is lost of the weights.
#[test]
fn weights_add_up_to_one() {
    let (rows, positions): (Vec<u32>, Vec<u32>) = ((900..1000).collect(), (0..1000).collect());
    let q = (tensor(1, &[100, 4, 64], &Device::Cpu) * 4.0).unwrap();
    let k = (tensor(2, &[2, 1000, 64], &Device::Cpu) * 4.0).unwrap().to_dtype(DType::BF16).unwrap();
    let v = Tensor::full(0.75f32, (2, 1000, 64), &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
    let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
    let sizes = check("attention", &q, &rows, &k, &positions).unwrap();
    for level in levels() {
        let got = cpu::attention(level, &q, &rows, entries, 0.125, Visibility::Causal, sizes).unwrap();
        assert_close(&got, &vec![0.75; got.len()], 2e-6, 1.0);
    }
}

#[test]
fn zeros_and_outliers_agree() {
    let positions: Vec<u32> = (0..300).collect();
    let rows: Vec<u32> = (0..100).map(|i| i * 3).collect();
    let set = |seed: u64, shape: &[usize], changes: &[(std::ops::Range<usize>, f32)]| {
        let mut all = numbers(seed, shape.iter().product());
        changes.iter().for_each(|(range, value)| all[range.clone()].fill(*value));
        Tensor::from_vec(all, shape, &Device::Cpu).unwrap()
    };
    // A query, a key and a block of values of zeros; a channel of large keys, a value of 1000.
    let q = set(1, &[100, 2, 64], &[(64..128, 0.0), (3000..3001, 30.0)]);
    let k = set(2, &[1, 300, 64], &[(640..704, 0.0), (1000..1001, 50.0), (5000..5001, -50.0)]);
    let v = set(3, &[1, 300, 64], &[(64 * 64..128 * 64, 0.0), (9000..9001, 1000.0)]);
    for dtype in [DType::F16, DType::BF16, Q8_0] {
        let (k, v) = (stored(&k, dtype), stored(&v, dtype));
        for visibility in [Visibility::Causal, Visibility::Window { width: 70 }] {
            compare(&q, &rows, &k, &v, &positions, visibility);
        }
    }
}

/// A NaN or an infinity shows in every output that depends on it, and a hidden key spoils nothing.
#[test]
fn no_nan_becomes_a_number() {
    let (rows, positions): (Vec<u32>, Vec<u32>) = ((100..200).collect(), (0..200).collect());
    let numbers = |seed, count, at: Option<usize>, bad: f32| {
        let mut all = numbers(seed, count);
        at.into_iter().for_each(|at| all[at] = bad);
        all
    };
    for bad in [f32::NAN, f32::INFINITY] {
        for which in 0..3 {
            let at = |this: usize, at: usize| (which == this).then_some(at);
            let q =
                Tensor::from_vec(numbers(1, 100 * 64, at(0, 50 * 64 + 3), bad), (100, 1, 64), &Device::Cpu).unwrap();
            let k =
                Tensor::from_vec(numbers(2, 200 * 64, at(1, 150 * 64 + 3), bad), (1, 200, 64), &Device::Cpu).unwrap();
            let v =
                Tensor::from_vec(numbers(3, 200 * 64, at(2, 150 * 64 + 3), bad), (1, 200, 64), &Device::Cpu).unwrap();
            for dtype in [DType::F32, DType::F16] {
                let (k, v) = (k.to_dtype(dtype).unwrap(), v.to_dtype(dtype).unwrap());
                let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
                let sizes = check("attention", &q, &rows, &k, &positions).unwrap();
                for level in levels() {
                    let got = cpu::attention(level, &q, &rows, entries, 0.125, Visibility::Causal, sizes).unwrap();
                    for (row, got) in got.chunks_exact(64).enumerate() {
                        let finite = got.iter().filter(|o| o.is_finite()).count();
                        let case = format!("{bad} in {which} of {dtype:?} at {level}, row {row}: {finite} finite");
                        match which {
                            0 => assert!(if row == 50 { finite == 0 } else { finite == 64 }, "{case}"),
                            // An infinite key may also leave a row with no weight on it, as it should.
                            1 if bad.is_nan() => assert!(if row >= 50 { finite == 0 } else { finite == 64 }, "{case}"),
                            1 => assert!(row >= 50 || finite == 64, "{case}"),
                            // A value spoils its dimension, from its block of entries on.
                            _ => assert!(if row >= 50 { finite == 63 } else { finite >= 63 }, "{case}"),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_broken_block_of_a_value_spoils_its_numbers_alone() {
    let (rows, positions): (Vec<u32>, Vec<u32>) = ((100..200).collect(), (0..200).collect());
    let q = tensor(1, &[100, 1, 64], &Device::Cpu);
    let k = stored(&tensor(2, &[1, 200, 64], &Device::Cpu), Q8_0);
    let mut v = numbers(3, 200 * 64);
    v[150 * 64 + 3] = f32::NAN;
    let v = stored(&Tensor::from_vec(v, (1, 200, 64), &Device::Cpu).unwrap(), Q8_0);
    let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
    let sizes = check("attention", &q, &rows, &k, &positions).unwrap();
    for level in levels() {
        let got = cpu::attention(level, &q, &rows, entries, 0.125, Visibility::Causal, sizes).unwrap();
        for (row, got) in got.chunks_exact(64).enumerate() {
            assert!(got[BLOCK..].iter().all(|o| o.is_finite()), "row {row} at {level}");
            assert!(row < 50 || got[..BLOCK].iter().all(|o| o.is_nan()), "row {row} at {level}");
        }
    }
}
