use candle_core::Device;

use super::{cuda, reference};
use crate::testing::{assert_close, each_gpu, flat, on, tensor};

#[test]
fn every_width_agrees() {
    each_gpu!(|gpu| {
        for (rows, width) in [(1, 1), (3, 31), (5, 64), (2, 255), (2, 600), (0, 8)] {
            let (x, weight) = (tensor(1, &[rows, width], &Device::Cpu), tensor(2, &[width], &Device::Cpu));
            let added = tensor(3, &[rows, width], &Device::Cpu);
            let mut want = vec![0f32; rows * width];
            reference::rms_norm(&flat(&x), &flat(&weight), 1e-5, &mut want);
            let (on_x, on_weight) = (on(gpu, &x), on(gpu, &weight));
            assert_close(&flat(&cuda::rms_norm(gpu, &on_x, None, &on_weight, 1e-5).unwrap()), &want, 1e-5, 1e-3);

            let sum: Vec<f32> = flat(&x).iter().zip(flat(&added)).map(|(x, added)| x + added).collect();
            reference::rms_norm(&sum, &flat(&weight), 1e-5, &mut want);
            let got = cuda::rms_norm(gpu, &on_x, Some(&on(gpu, &added)), &on_weight, 1e-5).unwrap();
            assert_close(&flat(&got), &want, 1e-5, 1e-3);
            assert_eq!(flat(&on_x), sum);
        }
    });
}
