//! How many instructions three kernels take, counted by callgrind: the one measure of speed that a busy
//! machine cannot disturb. Skips aloud where valgrind is not installed.
//!
//! Valgrind knows no AVX-512, so what is counted are the AVX2 kernels, on one thread. A new compiler may
//! move the numbers; a kernel that takes a tenth more than is written here has lost something.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use skimlm_kernels::attention::{Entries, Visibility, attention};
use skimlm_kernels::linear::{BlockType, Bytes, Weight, linear};
use skimlm_kernels::select::top_k;
use skimlm_kernels::threads::Threads;

/// Instructions of one call.
const COUNTS: [(&str, u64); 3] = [("linear", 2_228_068), ("attention", 11_591_243), ("top_k", 337_701)];

/// Says which kernel to run, and how often, to the process that is counted.
const ASK: &str = "SKIMLM_COUNT";

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 31) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn tensor(shape: &[usize]) -> Tensor {
    Tensor::from_vec(numbers(shape.iter().product()), shape, &Device::Cpu).unwrap()
}

#[test]
fn counted() {
    let Ok(ask) = std::env::var(ASK) else { return };
    let (kernel, times) = ask.split_once(' ').unwrap();
    let call: Box<dyn Fn()> = match kernel {
        "linear" => {
            // 192 rows of 18 blocks of Q4_1: scale 0.5, minimum -4, integers of all sizes.
            let block: Vec<u8> = [0x00, 0x38, 0x00, 0xc4].into_iter().chain((0..16).map(|i| i * 17)).collect();
            let bytes = block.repeat(192 * 18);
            let len = bytes.len();
            let weight = Weight::new(BlockType::Q4_1, 192, 576, Bytes::new(Arc::new(bytes), 0..len).unwrap()).unwrap();
            let x = tensor(&[64, 576]);
            Box::new(move || drop(black_box(linear(&x, &weight).unwrap())))
        }
        "attention" => {
            let q = tensor(&[64, 9, 64]);
            let (k, v) = (tensor(&[3, 512, 64]), tensor(&[3, 512, 64]));
            let (k, v) = (k.to_dtype(DType::F16).unwrap(), v.to_dtype(DType::F16).unwrap());
            let positions: Vec<u32> = (0..512).collect();
            Box::new(move || {
                let entries = Entries { k: &k, v: &v, positions: &positions, tags: &[] };
                let seen = attention(&q, &positions[448..], entries, 0.125, Visibility::Causal);
                drop(black_box(seen.unwrap()));
            })
        }
        _ => {
            let scores = numbers(8192);
            Box::new(move || drop(black_box(top_k(&scores, 1024).unwrap())))
        }
    };
    Threads::new(1).unwrap().install(|| (0..times.parse().unwrap()).for_each(|_| call()));
}

/// Instructions of the whole process.
fn count(kernel: &str, times: u32) -> u64 {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "counted", "--test-threads=1"])
        .env(ASK, format!("{kernel} {times}"))
        .env("SKIMLM_KERNELS", "avx2")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok()).unwrap()
}

#[test]
fn kernels_take_no_more_instructions_than_they_did() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skimlm_kernels::skipped!("instructions of kernels (no valgrind)");
    }
    for (kernel, known) in COUNTS {
        // The first call prepares memory.
        let each = (count(kernel, 6) - count(kernel, 1)) / 5;
        println!("{kernel}: {each} instructions, {known} known");
        assert!(each <= known + known / 10, "{kernel} takes {each} instructions, not {known}");
        assert!(each >= known / 2, "{kernel} takes {each} instructions only: write that down instead of {known}");
    }
}
