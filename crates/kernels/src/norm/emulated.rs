use candle_core::Device;

use super::{cuda, reference};
use crate::gpu::emulation::emulation;
use crate::testing::{assert_close, flat, tensor};

#[test]
fn every_width_agrees() {
    let Some(gpu) = emulation() else { return };
    for (rows, width) in [(1, 1), (3, 31), (5, 64), (2, 255), (2, 600), (0, 8)] {
        let (x, weight) = (tensor(1, &[rows, width], &Device::Cpu), tensor(2, &[width], &Device::Cpu));
        let added = tensor(3, &[rows, width], &Device::Cpu);
        let mut want = vec![0f32; rows * width];
        reference::rms_norm(&flat(&x), &flat(&weight), 1e-5, &mut want);
        assert_close(&flat(&cuda::rms_norm(&gpu, &x, None, &weight, 1e-5).unwrap()), &want, 1e-5, 1e-3);

        let sum: Vec<f32> = flat(&x).iter().zip(flat(&added)).map(|(x, added)| x + added).collect();
        reference::rms_norm(&sum, &flat(&weight), 1e-5, &mut want);
        assert_close(&flat(&cuda::rms_norm(&gpu, &x, Some(&added), &weight, 1e-5).unwrap()), &want, 1e-5, 1e-3);
        assert_eq!(flat(&x), sum);
    }
}
