use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{ANCHOR, Entries, Sizes, Visibility, attention, check, reference};
use crate::testing::{assert_close, devices, flat, tensor};

fn compare(q: &Tensor, rows: &[u32], k: &Tensor, v: &Tensor, positions: &[u32], visibility: Visibility) {
    let entries = Entries { k, v, positions, tags: &[] };
    let sizes: Sizes = check("attention", q, rows, k, positions).unwrap();
    let scale = 1.0 / (sizes.dim as f32).sqrt();
    let got = flat(&attention(q, rows, entries, scale, visibility).unwrap());
    let want = reference::attention(q, rows, entries, scale, visibility, sizes).unwrap();
    // Values lie in -1..1: errors are relative to what an output can be, not to what cancels to it.
    assert_close(&got, &want, 1e-5, 1.0);
    for (row, &position) in rows.iter().enumerate() {
        if visibility.range(position, positions).is_empty() {
            let width = sizes.heads * sizes.dim;
            assert!(got[row * width..(row + 1) * width].iter().all(|&o| o == 0.0), "row {row} sees nothing");
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
        dim in prop::sample::select(vec![4usize, 16, 20, 64, 80, 96]),
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
        Entries { k: &k, v: &v, positions: &(0..64).collect::<Vec<_>>(), tags: &[] },
        1.0,
        Visibility::Causal,
    );
    assert!(flat(&out.unwrap()).iter().all(|o| o.is_finite() && o.abs() <= 1.0));
}

/// `B a b # c d # e` with `#` an anchor: which columns each row sees.
#[test]
fn the_anchor_mask_of_the_paper() {
    let tags = [0, 0, 0, ANCHOR, 0, 0, ANCHOR, 0];
    let want = ["x", "xx", "xxx", "xxxx", "   xx", "   xxx", "    xxx", "   x  xx"];
    let k = Tensor::zeros((1, 8, 1), DType::F32, &Device::Cpu).unwrap();
    let positions: Vec<u32> = (0..8).collect();
    let entries = Entries { k: &k, v: &k, positions: &positions, tags: &tags };
    let line = |row: u32| -> String {
        let sees = |e: usize| if (Visibility::Anchored { width: None }).sees(row, e, entries) { 'x' } else { ' ' };
        (0..8).map(sees).collect::<String>().trim_end().to_owned()
    };
    assert_eq!((0..8).map(line).collect::<Vec<_>>(), want);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn anchors_agree_with_the_definition(
        tags in prop::collection::vec(prop_oneof![5 => Just(0u32), 1 => Just(ANCHOR), 1 => Just(2u32)], 0..120),
        compact in 0usize..40,
        kv_heads in 1usize..4,
        group in 1usize..4,
        dim in prop::sample::select(vec![4usize, 16, 20]),
        rows in prop::collection::vec(0u32..320, 0..60),
        gap in 1u32..4,
        width in prop_oneof![Just(None), (1u32..120).prop_map(Some)],
        dtype in prop::sample::select(vec![DType::F32, DType::F16]),
        seed: u64,
    ) {
        // As in a compacted cache: at first nothing but tagged entries.
        let tags: Vec<u32> = tags.iter().enumerate().map(|(i, &tag)| if i < compact { tag.max(1) } else { tag }).collect();
        let positions = spread(tags.len(), gap, 3);
        let mut distinct = rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        for device in devices() {
            let k = tensor(seed ^ 1, &[kv_heads, tags.len() + 3, dim], &device).to_dtype(dtype).unwrap();
            let v = tensor(seed ^ 2, &[kv_heads, tags.len() + 3, dim], &device).to_dtype(dtype).unwrap();
            let entries = Entries { k: &k, v: &v, positions: &positions, tags: &tags };
            // In order, as a pass has them, and in any order.
            for rows in [&distinct, &rows] {
                let q = (tensor(seed, &[rows.len(), kv_heads * group, dim], &device) * 3.0).unwrap();
                let visibility = Visibility::Anchored { width };
                let sizes = check("attention", &q, rows, &k, &positions).unwrap();
                let got = flat(&attention(&q, rows, entries, 0.4, visibility).unwrap());
                let want = reference::attention(&q, rows, entries, 0.4, visibility, sizes).unwrap();
                assert_close(&got, &want, 1e-5, 1.0);
            }
        }
    }
}

#[test]
fn without_tags_anchors_change_nothing() {
    let q = tensor(1, &[50, 4, 16], &Device::Cpu);
    let (k, v) = (tensor(2, &[2, 90, 16], &Device::Cpu), tensor(3, &[2, 90, 16], &Device::Cpu));
    let (positions, rows): (Vec<u32>, Vec<u32>) = ((0..90).collect(), (40..90).collect());
    for tags in [&[0u32; 90][..], &[]] {
        let entries = Entries { k: &k, v: &v, positions: &positions, tags };
        let [plain, anchored] = [Visibility::Causal, Visibility::Anchored { width: None }]
            .map(|visibility| flat(&attention(&q, &rows, entries, 0.25, visibility).unwrap()));
        assert_eq!(plain, anchored);
    }
    let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[1; 3] };
    assert!(attention(&q, &rows, entries, 0.25, Visibility::Causal).is_err());
}
