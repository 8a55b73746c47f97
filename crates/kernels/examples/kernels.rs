//! How fast the kernels are here: `cargo run --release -p skimlm-kernels --example kernels [op ..]`.
//!
//! Every figure is the best of several runs, and next to it stands the share of what the same
//! machine gave a yardstick in the same round: bare `gemm` f32 for products, a copy for bytes, and for the
//! levels beside each other what the best of them can multiply in registers.
#![allow(clippy::print_stdout, clippy::unwrap_used, unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use skimlm_kernels::attention::{Entries, Visibility, attention};
use skimlm_kernels::cached::{self, Q8_0};
use skimlm_kernels::gather;
use skimlm_kernels::keys::{Measure, measure};
use skimlm_kernels::linear::{Activations, BlockType, Bytes, Weight, linear};
use skimlm_kernels::logits::top;
use skimlm_kernels::norm::rms_norm;
use skimlm_kernels::peak::multiply;
use skimlm_kernels::rope::{Pairing, Rotary, rotate};
use skimlm_kernels::scores::{Form, Heads, Keys, scores};
use skimlm_kernels::select::{Edge, Pool, pool, top_k};
use skimlm_kernels::{Level, features, level};

/// The best time of `run`, in seconds, over at least `rounds` runs and a fifth of a second.
fn best(rounds: usize, mut run: impl FnMut()) -> f64 {
    run();
    let (begin, mut least) = (Instant::now(), f64::MAX);
    for round in 0.. {
        if round >= rounds && begin.elapsed().as_secs_f64() > 0.2 {
            break;
        }
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}

/// Repeatable numbers in -1..1.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor(shape: &[usize]) -> Tensor {
    Tensor::from_vec(numbers(shape.iter().product()), shape, &Device::Cpu).unwrap()
}

fn weight(dtype: BlockType, rows: usize, cols: usize) -> Weight {
    let dense = Tensor::from_vec(numbers(rows * cols), (rows, cols), &Device::Cpu).unwrap();
    let blocks = candle_core::quantized::QTensor::quantize(&dense, dtype).unwrap();
    let bytes = Arc::new(blocks.data().unwrap().to_vec());
    let len = bytes.len();
    Weight::new(dtype, rows, cols, Bytes::new(bytes, 0..len).unwrap()).unwrap()
}

/// GFLOP/s of `gemm` on `x [rows, cols] * w [outs, cols]^T`.
fn gemm(rows: usize, outs: usize, cols: usize) -> f64 {
    let (x, w, mut y) = (numbers(rows * cols), numbers(outs * cols), vec![0f32; rows * outs]);
    let (o, c) = (outs as isize, cols as isize);
    let seconds = best(3, || {
        // SAFETY: the three matrices are as large as the strides say.
        unsafe {
            gemm::gemm(
                rows,
                outs,
                cols,
                y.as_mut_ptr(),
                1,
                o,
                false,
                x.as_ptr(),
                1,
                c,
                w.as_ptr(),
                c,
                1,
                0.0f32,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(0),
            );
        }
    });
    2.0 * (rows * outs * cols) as f64 / seconds / 1e9
}

/// GB/s read plus written by a copy of 128 MiB on all threads.
fn copy() -> f64 {
    use rayon::prelude::*;
    let (from, mut to) = (vec![1u8; 128 << 20], vec![0u8; 128 << 20]);
    let seconds = best(3, || {
        to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    2.0 * from.len() as f64 / seconds / 1e9
}

fn line(op: &str, shape: &str, figure: f64, unit: &str, of: f64, yardstick: &str) {
    println!("{op:<22} {shape:<30} {figure:>8.1} {unit:<8} {:>6.2} of {yardstick}", figure / of);
}

/// The vector levels of this processor one after the other, round by round, so that what slows one
/// slows all: what each does at best, and the median ratio of the last two with its range.
fn versus(op: &str, shape: &str, operations: f64, mut run: impl FnMut()) {
    let before = level().unwrap();
    let levels: Vec<Level> = Level::present().into_iter().filter(|l| *l > Level::Scalar).collect();
    let mut times = vec![Vec::new(); levels.len()];
    for _ in 0..7 {
        for (level, times) in levels.iter().zip(&mut times) {
            level.force().unwrap();
            times.push(best(1, &mut run));
        }
    }
    before.force().unwrap();
    let cores = rayon::current_num_threads() as f64;
    let most = |times: &[f64]| operations / times.iter().copied().fold(f64::MAX, f64::min) / cores / 1e9;
    let figures: Vec<String> = levels.iter().zip(&times).map(|(l, t)| format!("{l} {:.0}", most(t))).collect();
    print!("{op:<22} {shape:<30} {:<36} Gop/s a core", figures.join(", "));
    if let (Some(best), Some(times)) = (levels.last(), times.last()) {
        print!(", {:.2} of {best}'s peak", most(times) / peak(*best));
    }
    if let [.., old, new] = &times[..] {
        let mut ratios: Vec<f64> = old.iter().zip(new).map(|(old, new)| old / new).collect();
        ratios.sort_by(f64::total_cmp);
        print!(", last two {:.2} ({:.2} to {:.2})", ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1]);
    }
    println!();
}

/// Gop/s of one core that does nothing but multiply, while the others do the same.
fn peak(level: Level) -> f64 {
    const ROUNDS: u64 = 1 << 16;
    use rayon::prelude::*;
    let cores = rayon::current_num_threads();
    let done = multiply(level, ROUNDS) as f64;
    let seconds = best(5, || (0..cores).into_par_iter().for_each(|_| _ = multiply(level, ROUNDS)));
    done / seconds / 1e9
}

/// The levels beside each other where there are many rows.
fn levels() {
    for level in Level::present().into_iter().filter(|level| *level > Level::Scalar) {
        println!("{:<22} {:<30} {:>8.1} Gop/s a core", "peak", level.name(), peak(level));
    }
    use BlockType::{Q4_0, Q4_1, Q4K, Q5_1, Q6K, Q8_0};
    for (rows, outs, cols) in
        [(512, 1536, 576), (512, 576, 1536), (8, 1536, 576), (16, 1536, 576), (32, 1536, 576), (512, 2048, 2048)]
    {
        for dtype in [Q4_1, Q4_0, Q5_1, Q8_0, Q4K, Q6K] {
            if cols % dtype.block_size() != 0 || (dtype != Q4_1 && cols == 1536) || (dtype == Q4_1 && cols == 2048) {
                continue;
            }
            let (x, w) = (tensor(&[rows, cols]), weight(dtype, outs, cols));
            let operations = 2.0 * (rows * outs * cols) as f64;
            let shape = format!("[{rows}, {cols}] x [{outs}]");
            versus(&format!("linear {dtype:?}"), &shape, operations, || drop(linear(&x, &w).unwrap()));
            if dtype == Q4_1 || dtype == Q8_0 {
                let w = w.with_activations(Activations::Bits8);
                versus(&format!("linear {dtype:?}, 8 bits"), &shape, operations, || drop(linear(&x, &w).unwrap()));
            }
        }
    }
    for (rows, n, heads, kv_heads, dim) in
        [(512, 8192, 9, 3, 64), (512, 512, 9, 3, 64), (32, 8192, 9, 3, 64), (512, 4096, 8, 2, 128)]
    {
        let positions: Vec<u32> = (0..n as u32).collect();
        let q = tensor(&[rows, heads, dim]);
        for dtype in [DType::F16, DType::BF16] {
            let k = tensor(&[kv_heads, n, dim]).to_dtype(dtype).unwrap();
            let entries = Entries { k: &k, v: &k, positions: &positions, tags: &[] };
            let last = &positions[n - rows..];
            let seen = (n * rows - rows * (rows - 1) / 2) as f64;
            let shape = format!("{rows} rows, {n} entries of {dim}");
            versus(&format!("attention {dtype:?}"), &shape, 4.0 * seen * (heads * dim) as f64, || {
                drop(attention(&q, last, entries, 0.125, Visibility::Causal).unwrap());
            });
        }
    }
}

fn linears() {
    use BlockType::{F16, F32, Q4_0, Q4_1, Q4K, Q8_0};
    for (outs, cols) in [(1536, 576), (576, 1536), (2048, 2048)] {
        for rows in [8, 16, 32, 64, 512, 2048] {
            let yard = gemm(rows, outs, cols);
            let x = tensor(&[rows, cols]);
            for dtype in [Q4_1, Q8_0, Q4_0, F16, F32, Q4K] {
                if cols % dtype.block_size() != 0 || (dtype != Q4_1 && rows != 512) {
                    continue;
                }
                let w = weight(dtype, outs, cols);
                let seconds = best(3, || drop(linear(&x, &w).unwrap()));
                let flops = 2.0 * (rows * outs * cols) as f64 / seconds / 1e9;
                line(
                    &format!("linear {dtype:?}"),
                    &format!("[{rows}, {cols}] x [{outs}]"),
                    flops,
                    "GFLOP/s",
                    yard,
                    "gemm",
                );
            }
        }
    }
}

/// Decoding: weights beyond the caches, bound by bytes.
fn decodes() {
    use BlockType::{BF16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q6K, Q8_0};
    let yard = copy();
    for rows in [1, 4, 8] {
        let (outs, cols) = (49152, 1024);
        let x = tensor(&[rows, cols]);
        for dtype in [Q4_1, Q8_0, Q4_0, Q5_0, F16, BF16, F32, Q4K, Q6K] {
            let w = weight(dtype, outs, cols);
            let seconds = best(3, || drop(linear(&x, &w).unwrap()));
            let bytes = (outs * w.row_bytes()) as f64 / seconds / 1e9;
            line(&format!("linear {dtype:?}"), &format!("[{rows}, {cols}] x [{outs}]"), bytes, "GB/s", yard, "copy");
        }
    }
    for (outs, cols) in [(576, 576), (1536, 576), (576, 1536)] {
        let (x, w) = (tensor(&[1, cols]), weight(Q4_1, outs, cols));
        let seconds = best(100, || drop(linear(&x, &w).unwrap()));
        println!("{:<22} {:<30} {:>8.1} us a call", "linear Q4_1", format!("[1, {cols}] x [{outs}]"), seconds * 1e6);
    }
}

/// Prefill and decoding with the default model's heads: 9 query heads, 3 kv heads of 64.
fn attentions() {
    let (heads, kv_heads, dim) = (9, 3, 64);
    let scale = 0.125;
    for n in [512usize, 2048, 8192] {
        let yard = gemm(2048, 2048, 2048);
        let positions: Vec<u32> = (0..n as u32).collect();
        let q = tensor(&[n, heads, dim]);
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let k = tensor(&[kv_heads, n, dim]).to_dtype(dtype).unwrap();
            let entries = Entries { k: &k, v: &k, positions: &positions, tags: &[] };
            let seconds = best(2, || drop(attention(&q, &positions, entries, scale, Visibility::Causal).unwrap()));
            let flops = 2.0 * (n * n * heads * dim) as f64 / seconds / 1e9;
            line(&format!("attention {dtype:?}"), &format!("{n} rows, {n} entries"), flops, "GFLOP/s", yard, "gemm");
        }
    }
    let yard = copy();
    for n in [512usize, 2048, 8192, 131_072] {
        let positions: Vec<u32> = (0..n as u32).collect();
        let q = tensor(&[1, heads, dim]);
        for dtype in [DType::F32, DType::F16, DType::BF16, Q8_0] {
            let width = cached::width(dtype, dim).unwrap();
            let k = Tensor::zeros((kv_heads, n, width), dtype, &Device::Cpu).unwrap();
            cached::write(&k, 0, &tensor(&[n, kv_heads, dim]), 0..kv_heads).unwrap();
            let v = k.copy().unwrap();
            let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
            let seconds = best(20, || drop(attention(&q, &[n as u32], entries, scale, Visibility::Causal).unwrap()));
            let bytes = 2.0 * (kv_heads * n * width * dtype.size_in_bytes()) as f64 / seconds / 1e9;
            let name = if dtype == Q8_0 { "Q8_0".to_owned() } else { format!("{dtype:?}") };
            line(&format!("attention {name}"), &format!("1 row, {n} entries"), bytes, "GB/s", yard, "copy");
        }
    }
}

/// What selection costs next to reading the keys once.
fn selections() {
    let (heads, kv_heads, dim) = (9, 3, 64);
    let yard = copy();
    for n in [8192usize, 131_072] {
        let positions: Vec<u32> = (0..n as u32).collect();
        let k = tensor(&[kv_heads, n, dim]).to_dtype(DType::F16).unwrap();
        let keys = Keys { k: &k, positions: &positions };
        for (form, rows, name) in [(Form::Raw, 1, "scores raw"), (Form::Softmax, 16, "scores softmax")] {
            let q = tensor(&[rows, heads, dim]);
            let last = &positions[n - rows..];
            let run = || drop(scores(&q, last, keys, 1.0, form, Visibility::Causal, &Heads::Sum).unwrap());
            let bytes = 2.0 * (kv_heads * n * dim) as f64 / best(10, run) / 1e9;
            line(name, &format!("{rows} rows, {n} entries"), bytes, "GB/s", yard, "copy");
        }
        for (what, name) in [(Measure::Length, "keys length"), (Measure::Likeness, "keys likeness")] {
            let seconds = best(10, || drop(measure(keys, what).unwrap()));
            let bytes = 2.0 * (kv_heads * n * dim) as f64 / seconds / 1e9;
            line(name, &format!("{n} entries"), bytes, "GB/s", yard, "copy");
        }
        let row = numbers(n);
        let micros = 1e6 * best(50, || drop(top_k(&row, 1024).unwrap()));
        println!("{:<22} {:<30} {micros:>8.1} us a call", "top_k", format!("1024 of {n}"));
        let micros = 1e6 * best(50, || drop(pool(&row, Pool::Avg { width: 13, edge: Edge::Zero }).unwrap()));
        println!("{:<22} {:<30} {micros:>8.1} us a call", "pool", format!("13 over {n}"));
    }
    let row = numbers(49_152);
    let micros = 1e6 * best(50, || _ = top(&row).unwrap());
    println!("{:<22} {:<30} {micros:>8.1} us a call", "logits top", "of 49152");
    let (n, yard) = (2048usize, gemm(2048, 2048, 2048));
    let positions: Vec<u32> = (0..n as u32).collect();
    let (q, k) = (tensor(&[n, heads, dim]), tensor(&[kv_heads, n, dim]));
    let keys = Keys { k: &k, positions: &positions };
    let run = || drop(scores(&q, &positions, keys, 0.125, Form::Softmax, Visibility::Causal, &Heads::Sum).unwrap());
    let flops = 2.0 * (n * n * heads * dim) as f64 / best(2, run) / 1e9;
    line("scores column sums", &format!("{n} rows, {n} entries"), flops, "GFLOP/s", yard, "gemm");
}

/// Operations bound by bytes: read plus written against a copy.
fn elements() {
    let yard = copy();
    for rows in [1usize, 2048] {
        let (x, weight, wide) = (tensor(&[rows, 576]), tensor(&[576]), tensor(&[rows, 1536]));
        let q = tensor(&[rows, 9, 64]);
        let positions: Vec<u32> = (0..rows as u32).rev().collect();
        let rotary = Rotary::plain(1e5, 64, Pairing::Interleaved);
        let angles = rotary.angles(&positions, &Device::Cpu).unwrap();
        let ops: [(&str, usize, &dyn Fn()); 3] = [
            ("rms_norm", 8 * rows * 576, &(|| drop(rms_norm(&x, &weight, 1e-5).unwrap()))),
            ("rope", 8 * rows * 576, &(|| rotate(&q, &angles).unwrap())),
            ("gather", 8 * rows * 1536, &(|| drop(gather::rows(&wide, &positions).unwrap()))),
        ];
        for (name, bytes, run) in ops {
            let rate = bytes as f64 / best(50, run) / 1e9;
            line(name, &format!("{rows} rows"), rate, "GB/s", yard, "copy");
        }
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let ops: [(&str, fn()); 6] = [
        ("levels", levels),
        ("linear", linears),
        ("decode", decodes),
        ("attention", attentions),
        ("select", selections),
        ("elements", elements),
    ];
    println!("{} threads, {} of {}", rayon::current_num_threads(), level().unwrap(), features().join(" "));
    if cfg!(debug_assertions) {
        println!("built with debug assertions: `gemm` as the yardstick is slower than it has to be, use --release");
    }
    for (name, run) in ops {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            run();
        }
    }
}
