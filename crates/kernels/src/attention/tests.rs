use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{Entries, Sizes, Visibility, attention, check, cpu, reference};
use crate::level::Level;
use crate::testing::{assert_close, devices, flat, tensor};

/// Whether a level rounds to integers in this call.
fn rounds(level: Level, sizes: Sizes, dtype: DType) -> bool {
    level == Level::Vnni && dtype != DType::F32 && sizes.rows * sizes.group() >= 64 && sizes.dim.is_multiple_of(2)
}

/// Every level against the textbook. The tolerance is relative to the largest value.
fn compare(q: &Tensor, rows: &[u32], k: &Tensor, v: &Tensor, positions: &[u32], visibility: Visibility) {
    let sizes: Sizes = check("attention", q, rows, k, positions).unwrap();
    compare_scaled(q, rows, k, v, positions, visibility, 1.0 / (sizes.dim as f32).sqrt(), 5e-4);
}

fn compare_scaled(
    q: &Tensor,
    rows: &[u32],
    k: &Tensor,
    v: &Tensor,
    positions: &[u32],
    visibility: Visibility,
    scale: f32,
    rounded: f32,
) {
    let entries = Entries { k, v, positions };
    let sizes: Sizes = check("attention", q, rows, k, positions).unwrap();
    let want = reference::attention(q, rows, entries, scale, visibility, sizes).unwrap();
    let most = flat(&v.to_dtype(DType::F32).unwrap()).iter().fold(0f32, |most, v| most.max(v.abs()));
    for level in Level::present() {
        if level == Level::Reference {
            continue;
        }
        let got = cpu::attention(level, q, rows, entries, scale, visibility, sizes).unwrap();
        // Relative to what an output can be, not to what cancels to it.
        assert_close(&got, &want, if rounds(level, sizes, k.dtype()) { rounded } else { 1e-5 }, most);
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
        dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::BF16]),
        seed: u64,
    ) {
        for device in devices() {
            let q = (tensor(seed, &[rows, kv_heads * group, dim], &device) * 3.0).unwrap();
            let shape = [kv_heads, entries + 5, dim];
            let k = (tensor(seed ^ 1, &shape, &device) * 2.0).unwrap().to_dtype(dtype).unwrap();
            let v = tensor(seed ^ 2, &shape, &device).to_dtype(dtype).unwrap();
            compare(&q, &spread(rows, row_gap, first_row), &k, &v, &spread(entries, gap, 3), visibility);
        }
    }
}

#[test]
fn long_contexts_split_over_threads_agree() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
    for (rows, dtype) in [(1, DType::F16), (2, DType::F32), (20, DType::F16), (200, DType::BF16)] {
        let q = tensor(1, &[rows, 9, 64], &Device::Cpu);
        let k = tensor(2, &[3, 2100, 64], &Device::Cpu).to_dtype(dtype).unwrap();
        let v = tensor(3, &[3, 2100, 64], &Device::Cpu).to_dtype(dtype).unwrap();
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
    let rows: Vec<u32> = (30..70).collect();
    let out = attention(
        &q,
        &rows,
        Entries { k: &k, v: &v, positions: &(0..64).collect::<Vec<_>>() },
        1.0,
        Visibility::Causal,
    );
    assert!(flat(&out.unwrap()).iter().all(|o| o.is_finite() && o.abs() <= 1.0));
}

/// The largest difference between the integer tiles and the textbook, relative to the largest value.
fn worst(q: &Tensor, rows: &[u32], k: &Tensor, v: &Tensor, positions: &[u32], scale: f32) -> f32 {
    let entries = Entries { k, v, positions };
    let sizes: Sizes = check("attention", q, rows, k, positions).unwrap();
    let want = reference::attention(q, rows, entries, scale, Visibility::Causal, sizes).unwrap();
    let most = flat(&v.to_dtype(DType::F32).unwrap()).iter().fold(0f32, |most, v| most.max(v.abs()));
    let got = cpu::attention(Level::Vnni, q, rows, entries, scale, Visibility::Causal, sizes).unwrap();
    got.iter().zip(&want).fold(0f32, |w, (g, x)| w.max((g - x).abs())) / most
}

#[test]
fn measured() {
    for dim in [16usize, 64, 128, 256] {
        let rows: Vec<u32> = (400..500).collect();
        let positions: Vec<u32> = (0..500).collect();
        for factor in [0.1f64, 1.0, 3.0, 10.0, 30.0] {
            let q = (tensor(1, &[100, 4, dim], &Device::Cpu) * factor).unwrap();
            let k = (tensor(2, &[2, 500, dim], &Device::Cpu) * 3.0).unwrap().to_dtype(DType::F16).unwrap();
            let v = tensor(3, &[2, 500, dim], &Device::Cpu).to_dtype(DType::F16).unwrap();
            println!("{dim} {factor} {:e}", worst(&q, &rows, &k, &v, &positions, 1.0 / (dim as f32).sqrt()));
        }
    }
}
