use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;

use super::{longest, spread};
use crate::attention::{ANCHOR, Entries, Visibility, attention, check, reference};
use crate::cached::{BLOCK, Q8_0};
use crate::testing::{assert_close, devices, flat, stored, tensor};

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
        dtype in prop::sample::select(vec![DType::F32, DType::F16, Q8_0]),
        seed: u64,
    ) {
        let dim = if dtype == Q8_0 { BLOCK } else { dim };
        // As in a compacted cache: at first nothing but tagged entries.
        let tags: Vec<u32> = tags.iter().enumerate().map(|(i, &tag)| if i < compact { tag.max(1) } else { tag }).collect();
        let positions = spread(tags.len(), gap, 3);
        let mut distinct = rows.clone();
        distinct.sort_unstable();
        distinct.dedup();
        for device in devices() {
            if dtype == Q8_0 && !device.is_cpu() {
                continue;
            }
            let k = stored(&tensor(seed ^ 1, &[kv_heads, tags.len() + 3, dim], &device), dtype);
            let v = stored(&tensor(seed ^ 2, &[kv_heads, tags.len() + 3, dim], &device), dtype);
            let entries = Entries { k: &k, v: &v, positions: &positions, tags: &tags };
            // In order, as a pass has them, and in any order.
            for rows in [&distinct, &rows] {
                let q = (tensor(seed, &[rows.len(), kv_heads * group, dim], &device) * 3.0).unwrap();
                let visibility = Visibility::Anchored { width };
                let sizes = check("attention", &q, rows, &k, &positions).unwrap();
                let got = flat(&attention(&q, rows, entries, 0.4, visibility).unwrap());
                let host = [&q, &k, &v].map(|tensor| tensor.to_device(&Device::Cpu).unwrap());
                let there = Entries { k: &host[1], v: &host[2], ..entries };
                let want = reference::attention(&host[0], rows, there, 0.4, visibility, sizes).unwrap();
                // Rows enough for the 16-bit products round as those do.
                let rounded = 2e-4 + 4e-5 * 0.4 * longest(&q, dim) * longest(&k, dim);
                assert_close(&got, &want, if dtype == DType::F32 { 1e-5 } else { rounded }, 1.0);
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
