use candle_core::Device;

use super::{Pairing, Rotary, cuda, reference};
use crate::gpu::Gpu;
use crate::testing::{assert_close, each_gpu, flat, on, tensor};

#[test]
fn every_shape_and_pairing_agrees() {
    each_gpu!(|gpu| {
        for (rows, heads, pairs, unrotated) in [(1, 1, 1, 0), (5, 3, 16, 0), (7, 2, 20, 3), (0, 2, 4, 0)] {
            for pairing in [Pairing::Half, Pairing::Interleaved] {
                let positions: Vec<u32> = (0..rows as u32).map(|i| 100_000 + i * 3).collect();
                let angles = Rotary::plain(1e5, 2 * pairs, pairing).angles(&positions, gpu.device()).unwrap();
                let (dim, at) = (2 * (pairs + unrotated), 1);
                // A part of a larger tensor, as a chunk of rows is.
                let all = on(gpu, &tensor(7, &[rows + 2, heads, dim], &Device::Cpu));
                let x = all.narrow(0, at, rows).unwrap();
                let mut want = flat(&all);
                let part = at * heads * dim..(at + rows) * heads * dim;
                reference::rotate(&mut want[part], heads, dim, &flat(&angles.cos), &flat(&angles.sin), pairing);
                cuda::rotate(gpu, &x, &angles, None).unwrap();
                assert_close(&flat(&all), &want, 1e-6, 1.0);
            }
        }
    });
}
