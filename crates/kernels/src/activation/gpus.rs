use candle_core::Device;

use super::{cuda, reference};
use crate::testing::{assert_close, each_gpu, flat, on, tensor};

#[test]
fn every_size_agrees() {
    each_gpu!(|gpu| {
        for (rows, width) in [(1, 1), (3, 85), (2, 256), (0, 4)] {
            let gate = (tensor(1, &[rows, width], &Device::Cpu) * 100.0).unwrap();
            let up = tensor(2, &[rows, width], &Device::Cpu);
            let mut want = vec![0f32; rows * width];
            reference::silu_mul(&flat(&gate), &flat(&up), &mut want);
            let got = cuda::silu_mul(gpu, &on(gpu, &gate), &on(gpu, &up)).unwrap();
            assert_close(&flat(&got), &want, 1e-6, 1e-20);
        }
    });
}
