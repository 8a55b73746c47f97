use std::f64::consts::TAU;

use super::*;

const ORIGINAL: f64 = 8192.0;

fn config(scaling: Scaling) -> RotaryConfig {
    RotaryConfig { base: 500_000.0, dims: 128, pairing: Pairing::Half, scaling }
}

fn table(n: usize, from: f64, to: f64) -> Vec<f64> {
    (0..n).map(|i| from + (to - from) * i as f64 / (n - 1) as f64).collect()
}

/// Every kind, with the frequencies and the factor that the publications give, written their way.
fn kinds(length: usize) -> Vec<(Scaling, Vec<f64>, f64)> {
    let plain: Vec<f64> = (0..64).map(|i| 500_000f64.powf(-f64::from(i) / 64.0)).collect();
    let each = |change: &dyn Fn(usize, f64) -> f64| plain.iter().enumerate().map(|(i, &f)| change(i, f)).collect();
    let (short, long) = (table(64, 1.0, 2.0), table(64, 1.0, 60.0));
    let longer = length as f64 > ORIGINAL;
    let grown = 500_000.0 * (4.0 * (length as f64).max(ORIGINAL) / ORIGINAL - 3.0).powf(128.0 / 126.0);
    let stretch = (1.0 + 16f64.ln() / ORIGINAL.ln()).sqrt();
    vec![
        (Scaling::None, plain.clone(), 1.0),
        (Scaling::Linear { factor: 4.0 }, each(&|_, f| f / 4.0), 1.0),
        (Scaling::Dynamic { factor: 4.0, original: ORIGINAL }, each(&|i, _| grown.powf(-(i as f64) / 64.0)), 1.0),
        (Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: ORIGINAL }, each(&|_, f| llama3(f)), 1.0),
        (Scaling::Yarn(Yarn::new(16.0, ORIGINAL)), each(&|i, f| yarn(i, f)), 0.1 * 16f64.ln() + 1.0),
        (
            Scaling::LongRope { short: short.clone(), long: long.clone(), original: ORIGINAL, magnitude: stretch },
            each(&|i, f| f / if longer { long[i] } else { short[i] }),
            stretch,
        ),
        (Scaling::Stored { by: long.clone() }, each(&|i, f| f / long[i]), 1.0),
    ]
}

/// With wavelengths and three branches.
fn llama3(freq: f64) -> f64 {
    let (factor, low, high) = (8.0, 1.0, 4.0);
    let wavelength = TAU / freq;
    if wavelength < ORIGINAL / high {
        freq
    } else if wavelength > ORIGINAL / low {
        freq / factor
    } else {
        let smooth = (ORIGINAL / wavelength - low) / (high - low);
        (1.0 - smooth) * freq / factor + smooth * freq
    }
}

/// Between the pair that turns 32 times in the original context and the one that turns once.
fn yarn(pair: usize, freq: f64) -> f64 {
    let border = |turns: f64| 64.0 * (ORIGINAL / (turns * TAU)).ln() / 500_000f64.ln();
    let (from, to) = (border(32.0).floor(), border(1.0).ceil());
    let ramp = (pair as f64 - from) / (to - from);
    match ramp {
        r if r <= 0.0 => freq,
        r if r >= 1.0 => freq / 16.0,
        r => freq / 16.0 * r + freq * (1.0 - r),
    }
}

#[test]
fn frequencies_are_the_published_ones() {
    for length in [1, 8192, 8193, 131_073] {
        for (scaling, expected, magnitude) in kinds(length) {
            let config = config(scaling);
            config.check(128).unwrap();
            let rotary = config.rotary(length);
            assert_eq!(rotary.magnitude, magnitude as f32, "{config:?}");
            for (got, want) in rotary.inv_freq.iter().zip(&expected) {
                assert!((got / want - 1.0).abs() < 1e-12, "{length} {config:?}: {got} {want}");
            }
        }
    }
}

/// Cosine and sine at position 131072, as f64 gives them, to the last bit but one of f32.
#[test]
fn far_positions_are_exact() {
    let position = 131_072u32;
    for (scaling, frequencies, magnitude) in kinds(position as usize + 1) {
        for pairing in [Pairing::Half, Pairing::Interleaved] {
            let config = RotaryConfig { pairing, ..config(scaling.clone()) };
            let angles = config.rotary(position as usize + 1).angles(&[position], &candle_core::Device::Cpu).unwrap();
            // A head of ones turns to `cos - sin` and `cos + sin`.
            let x = candle_core::Tensor::ones((1, 1, 128), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
            skimlm_kernels::rope::rotate(&x, &angles).unwrap();
            let got = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for (i, &frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (f64::from(position) * frequency).sin_cos();
                let at = if pairing == Pairing::Half { (i, i + 64) } else { (2 * i, 2 * i + 1) };
                for (got, want) in [(got[at.0], cos - sin), (got[at.1], cos + sin)] {
                    let error = (f64::from(got) - want * magnitude).abs();
                    assert!(error < 5e-7, "{config:?} pair {i}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_part_of_a_head_is_rotated() {
    let rotary = RotaryConfig::plain(10_000.0, 6, Pairing::Half).rotary(10);
    assert_eq!(rotary.inv_freq, [1.0, 10_000f64.powf(-1.0 / 3.0), 10_000f64.powf(-2.0 / 3.0)]);
}

#[test]
fn some_kinds_reach_beyond_the_context_that_a_file_claims() {
    assert_eq!(Scaling::Dynamic { factor: 2.0, original: 4096.0 }.reach(4096), 8192);
    assert_eq!(Scaling::Yarn(Yarn::new(4.0, 32768.0)).reach(32768), 131_072);
    assert_eq!(Scaling::Yarn(Yarn::new(4.0, 32768.0)).reach(131_072), 131_072);
    assert_eq!(Scaling::Linear { factor: 8.0 }.reach(4096), 4096);
    assert_eq!(Scaling::Yarn(Yarn::new(1e300, 1e9)).reach(1), u32::MAX as usize);
}

#[test]
fn refuses_what_cannot_be_meant() {
    let bad = [
        Scaling::Stored { by: vec![1.0; 63] },
        Scaling::Stored { by: vec![0.0; 64] },
        Scaling::Stored { by: vec![f64::NAN; 64] },
        Scaling::Linear { factor: 0.0 },
        Scaling::Dynamic { factor: 0.5, original: 4096.0 },
        Scaling::Dynamic { factor: 2.0, original: f64::INFINITY },
        Scaling::Llama3 { factor: 8.0, low: 4.0, high: 4.0, original: 8192.0 },
        Scaling::Yarn(Yarn::new(-4.0, 32768.0)),
        Scaling::Yarn(Yarn { slow: 64.0, ..Yarn::new(4.0, 32768.0) }),
        Scaling::LongRope { short: vec![1.0; 64], long: vec![1.0; 63], original: 4096.0, magnitude: 1.0 },
        Scaling::LongRope { short: vec![1.0; 64], long: vec![1.0; 64], original: 4096.0, magnitude: f64::NAN },
    ];
    for scaling in bad {
        assert!(config(scaling.clone()).check(128).is_err(), "{scaling:?}");
    }
    assert!(config(Scaling::None).check(64).is_err());
    assert!(RotaryConfig { base: f64::NAN, ..config(Scaling::None) }.check(128).is_err());
    assert!(RotaryConfig { dims: 5, ..config(Scaling::None) }.check(128).is_err());
    assert!(config(Scaling::None).check(128).is_ok());
}
