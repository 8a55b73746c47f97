use candle_core::{DType, Device, Tensor};

use super::{cuda, reference};
use crate::gpu::Gpu;
use crate::testing::{each_gpu, flat, on, tensor};

#[test]
fn rows_of_some_heads_go_where_they_belong() {
    each_gpu!(|gpu| {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for (rows, all, heads, dim, at, step) in [
                (1, 4, 0..4, 64, 3, Some(5)),
                (7, 3, 1..3, 20, 2, None),
                (2, 5, 4..5, 1, 0, Some(0)),
                (0, 2, 0..2, 8, 1, None),
            ] {
                let x = tensor(1, &[rows, all, dim], &Device::Cpu);
                let empty = tensor(2, &[heads.len(), 12, dim], &Device::Cpu).to_dtype(dtype).unwrap();
                let (want, there) = (empty.copy().unwrap(), on(gpu, &empty.copy().unwrap()));
                if rows > 0 {
                    reference::write(&want, at + step.unwrap_or(0) as usize, &x, heads.clone()).unwrap();
                }
                let step = step.map(|step: u32| Tensor::new(&[step], gpu.device()).unwrap());
                cuda::write(gpu, &there, at, &on(gpu, &x), heads, step.as_ref()).unwrap();
                let numbers = |of: &Tensor| flat(&of.to_dtype(DType::F32).unwrap());
                assert_eq!(numbers(&there), numbers(&want), "{dtype:?} {rows} {dim}");
            }
        }
    });
}

#[test]
fn nothing_is_written_behind_the_end() {
    each_gpu!(|gpu| {
        let (x, to) = (on(gpu, &tensor(1, &[2, 2, 8], &Device::Cpu)), on(gpu, &tensor(2, &[2, 4, 8], &Device::Cpu)));
        let before = flat(&to);
        cuda::write(gpu, &to, 3, &x, 0..2, Some(&Tensor::new(&[1u32], gpu.device()).unwrap())).unwrap();
        assert_eq!(flat(&to), before);
    });
}
