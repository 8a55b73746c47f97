use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use skimlm_core::Rotary;
use skimlm_kernels::rope::Pairing;

use super::*;
use crate::sees::{Sees, anchored};

fn var(seed: u64, shape: &[usize]) -> Var {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

/// Values and all gradients of two forms of one function agree.
fn same(vars: &[&Var], fused: impl Fn() -> Result<Tensor>, plain: impl Fn() -> Result<Tensor>) {
    let run = |f: &dyn Fn() -> Result<Tensor>| {
        let out = f().unwrap();
        let weights = var(99, out.dims());
        let grads = (&out * weights.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
        let mut all = vec![copied(&out).unwrap()];
        all.extend(vars.iter().map(|v| copied(grads.get(v).unwrap()).unwrap()));
        all
    };
    for (i, (got, want)) in run(&fused).iter().zip(run(&plain)).enumerate() {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(&want) {
            assert!((g - w).abs() <= 2e-5 * w.abs().max(1.0), "part {i}: {g}, not {w}");
        }
    }
}

#[test]
fn attention_and_its_gradient() {
    let (batch, rows) = (3, 13);
    for (count, kv, dim) in [(4, 4, 16), (6, 2, 8), (3, 1, 20)] {
        let heads = Heads { count, kv, dim, scale: 0.3 };
        let (q, k, v) = (
            var(1, &[batch * rows, count * dim]),
            var(2, &[batch * rows, kv * dim]),
            var(3, &[batch * rows, kv * dim]),
        );
        let rule = anchored(&(0..rows).map(|r| u32::from(r % 4 == 3)).collect::<Vec<_>>());
        let masks = [
            Sees::new(1, rows, |_, _, _| true),
            Sees::new(1, rows, |_, row, column| rule(row, column)),
            Sees::new(batch, rows, |b, row, column| (row + column + b) % 3 == 0),
        ];
        for sees in masks.map(Arc::new) {
            same(&[&q, &k, &v], || attention(&q, &k, &v, heads, &sees), || attention::plain(&q, &k, &v, heads, &sees));
        }
    }
}

#[test]
fn the_norm_and_its_gradient() {
    let (x, w) = (var(1, &[7, 33]), var(2, &[33]));
    same(&[&x, &w], || rms_norm(&x, &w, 1e-5), || norm::plain(&x, &w, 1e-5));
}

#[test]
fn the_gate_and_its_gradient() {
    let (g, u) = (var(1, &[5, 21]), var(2, &[5, 21]));
    same(&[&g, &u], || silu_mul(&g, &u), || gate::plain(&g, &u));
}

#[test]
fn the_rotation_and_its_gradient() {
    let x = var(1, &[5, 3 * 8]);
    let turns = Turns::new(&Rotary::plain(10000.0, 8, Pairing::Half), &[0, 1, 5, 100, 3]);
    same(&[&x], || rotate(&x, 8, &turns), || rotate::plain(&x, 8, &turns));
}

#[test]
fn a_frozen_weight_passes_the_gradient_on() {
    let (x, w) = (var(1, &[5, 8]), var(2, &[6, 8]));
    let w = w.as_tensor().detach();
    same(&[&x], || frozen_linear(&x, &w), || x.matmul(&w.t()?));
}
