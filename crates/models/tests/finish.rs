//! What finishing a layer takes at once. Alone in its process, because it counts all that is allocated.

#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use peak_alloc::PeakAlloc;
use skimlm_core::Model;
use skimlm_models::Decoder;
use skimlm_models::weights::random::{Random, Sizes};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// The MLP, where a layer takes the most, no longer holds what was attended.
#[test]
fn what_was_attended_is_freed_before_the_mlp() {
    const ROWS: usize = 64;
    let sizes = Sizes { hidden: 32, heads: 64, head_dim: 64, kv_heads: 1, mlp: 4096, ..Sizes::default() };
    let model = Decoder::new(&Random::new(&sizes).unwrap(), &Device::Cpu).unwrap();
    let x = Tensor::ones((ROWS, sizes.hidden), DType::F32, &Device::Cpu).unwrap();
    let peak = |held: bool| {
        let attended = Tensor::ones((ROWS, sizes.heads, sizes.head_dim), DType::F32, &Device::Cpu).unwrap();
        let other = held.then(|| attended.clone());
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        model.finish(0, &x, attended).unwrap();
        let taken = ALLOCATED.peak_usage() - before;
        drop(other);
        taken
    };
    // Scratch memory of the kernels stays from one call to the next.
    peak(true);
    let (held, freed) = (peak(true), peak(false));
    let attended = ROWS * sizes.heads * sizes.head_dim * 4;
    assert!(held - freed > attended / 2, "{held} with what was attended, {freed} without");
}
