use candle_core::Device;

use super::{cuda, reference};
use crate::gpu::emulation::emulation;
use crate::testing::{assert_close, flat, tensor};

#[test]
fn every_size_agrees() {
    let Some(gpu) = emulation() else { return };
    for (rows, width) in [(1, 1), (3, 85), (2, 256), (0, 4)] {
        let gate = (tensor(1, &[rows, width], &Device::Cpu) * 100.0).unwrap();
        let up = tensor(2, &[rows, width], &Device::Cpu);
        let mut want = vec![0f32; rows * width];
        reference::silu_mul(&flat(&gate), &flat(&up), &mut want);
        assert_close(&flat(&cuda::silu_mul(&gpu, &gate, &up).unwrap()), &want, 1e-6, 1e-20);
    }
}
