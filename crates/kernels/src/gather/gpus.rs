use candle_core::{DType, Device, Tensor};

use super::{cuda, entries, reference};
use crate::testing::{each_gpu, flat, on, tensor};

fn floats(x: &Tensor) -> Vec<f32> {
    flat(&x.to_dtype(DType::F32).unwrap())
}

#[test]
fn rows_are_copied_exactly() {
    each_gpu!(|gpu| {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for (count, width) in [(5, 1), (9, 24), (3, 7), (4, 600)] {
                let x =
                    tensor(1, &[count + 1, width], &Device::Cpu).to_dtype(dtype).unwrap().narrow(0, 1, count).unwrap();
                let indices: Vec<u32> = (0..11).map(|i| i * 7 % count as u32).collect();
                let mut want = vec![0f32; indices.len() * width];
                reference::rows_into(&floats(&x), width, &indices, &mut want);
                assert_eq!(
                    floats(&cuda::rows(gpu, &on(gpu, &x), &indices).unwrap()),
                    want,
                    "{dtype:?} {count} {width}"
                );
                assert!(cuda::rows(gpu, &on(gpu, &x), &[count as u32]).is_err());
                assert_eq!(cuda::rows(gpu, &on(gpu, &x), &[]).unwrap().dims(), [0, width]);
            }
        }
    });
}

#[test]
fn many_layers_are_gathered_as_one_by_one() {
    each_gpu!(|gpu| {
        let indices = [1u32, 2, 5, 6, 11];
        for (dtype, dim) in [(DType::F32, 8), (DType::F16, 64), (DType::BF16, 80), (DType::F16, 6)] {
            // Keys and values of more layers than one launch takes.
            let all: Vec<Tensor> =
                (0..70).map(|i| tensor(i, &[3, 12, dim], &Device::Cpu).to_dtype(dtype).unwrap()).collect();
            let there: Vec<Tensor> = all.iter().map(|tensor| on(gpu, tensor)).collect();
            let (all, there): (Vec<&Tensor>, Vec<&Tensor>) = (all.iter().collect(), there.iter().collect());
            let got = cuda::entries(gpu, &there, 1..3, &indices).unwrap();
            let want = entries(&all, 1..3, &indices).unwrap();
            for (got, want) in got.iter().zip(&want) {
                assert_eq!(got.dims(), [2, 5, dim]);
                assert_eq!(floats(got), floats(want));
            }
        }
    });
}
