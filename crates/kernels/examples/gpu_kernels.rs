//! How fast the kernels are on a GPU, beside the copy bandwidth of the same run.
//!
//! `cargo run --release -p skimlm-kernels --features cuda --example gpu_kernels [DEVICE]`
//!
//! Shapes of an 8B model: 32 query heads, 8 kv heads, heads of 128, bf16. One line of JSON an operation and length:
//! the median of several runs in microseconds, queueing and what the operation sends back to the host included, and
//! what that is in bytes or operations (a product and a sum are two) a second. `cpu` as DEVICE runs small lengths on
//! the CPU, to see that the bench itself works.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use skimlm_kernels::attention::{Entries, Visibility, attention};
use skimlm_kernels::keys::{Measure, measure};
use skimlm_kernels::scores::{Form, Heads, Keys, scores};
use skimlm_kernels::select::{Choice, Edge, Pool, select};
use skimlm_kernels::{device, gather};

const HEADS: usize = 32;
const KV_HEADS: usize = 8;
const DIM: usize = 128;
const KEPT: usize = 1024;

/// Microseconds of a run, the median of many.
fn median(device: &Device, mut run: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    for round in 0..12 {
        device.synchronize().unwrap();
        let started = Instant::now();
        run();
        device.synchronize().unwrap();
        // The first two load kernels and fill the memory pool.
        if round >= 2 {
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn random(shape: &[usize], dtype: DType, device: &Device) -> Tensor {
    Tensor::rand(-1f32, 1f32, shape, device).unwrap().to_dtype(dtype).unwrap()
}

fn line(op: &str, tokens: usize, micros: f64, unit: &str, amount: f64) {
    let rate = amount / micros / 1e3;
    println!(r#"{{"op":"{op}","tokens":{tokens},"microseconds":{micros:.1},"{unit}":{rate:.1}}}"#);
}

fn main() {
    let at = std::env::args().nth(1).unwrap_or_else(|| "0".into());
    let (device, lengths) = match at.as_str() {
        "cpu" => (Device::Cpu, vec![512]),
        index => (device::open(index.parse().unwrap()).unwrap(), vec![8192, 32768, 131_072]),
    };
    for tokens in lengths {
        let k = random(&[KV_HEADS, tokens, DIM], DType::BF16, &device);
        let v = random(&[KV_HEADS, tokens, DIM], DType::BF16, &device);
        let positions: Vec<u32> = (0..tokens as u32).collect();
        let bytes = (KV_HEADS * tokens * DIM * 2) as f64;

        let copied = Tensor::zeros(k.dims(), DType::BF16, &device).unwrap();
        line(
            "copy",
            tokens,
            median(&device, || copied.slice_set(&k, 0, 0).unwrap()),
            "gigabytesPerSecond",
            2.0 * bytes,
        );

        let q = random(&[1, HEADS, DIM], DType::F32, &device);
        let keys = Keys { k: &k, positions: &positions };
        let score = || scores(&q, &positions[tokens - 1..], keys, 1.0, Form::Raw, Visibility::Causal, &Heads::Sum);
        line("scores", tokens, median(&device, || drop(score().unwrap())), "gigabytesPerSecond", bytes);

        let alike = || drop(measure(keys, Measure::Likeness).unwrap());
        line("keys", tokens, median(&device, alike), "gigabytesPerSecond", bytes);

        let evidence = score().unwrap();
        let choice = Choice { pool: Some(Pool::Avg { width: 5, edge: Edge::Zero }), k: KEPT, pinned: vec![] };
        let entries = 4.0 * tokens as f64;
        line(
            "select",
            tokens,
            median(&device, || drop(select(&evidence, &choice).unwrap())),
            "gigabytesPerSecond",
            entries,
        );

        let indices = &select(&evidence, &choice).unwrap()[0].indices;
        let moved = 4.0 * (indices.len() * KV_HEADS * DIM * 2) as f64;
        let gathered = || gather::entries(&[&k, &v], 0..KV_HEADS, indices).unwrap();
        line("gather", tokens, median(&device, || drop(gathered())), "gigabytesPerSecond", moved);

        let all = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
        let attend = |q: &Tensor, rows: &[u32]| attention(q, rows, all, 0.088, Visibility::Causal).unwrap();
        let decode = median(&device, || drop(attend(&q, &positions[tokens - 1..])));
        line("attention, one row", tokens, decode, "gigabytesPerSecond", 2.0 * bytes);

        let rows = 2048.min(tokens);
        let q = random(&[rows, HEADS, DIM], DType::F32, &device);
        let prefill = median(&device, || drop(attend(&q, &positions[tokens - rows..])));
        let operations = 4.0 * (rows * HEADS * DIM) as f64 * (tokens - rows / 2) as f64;
        line(&format!("attention, {rows} rows"), tokens, prefill, "gigaflopsPerSecond", operations);
    }
}
