//! A small decoder out of the kernels: recorded steps give what ordinary ones give.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::{Steps, cuda};
use crate::attention::{self, Entries, Visibility};
use crate::draw::Drawing;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, Launch};
use crate::linear::{self, Weight};
use crate::logits::told;
use crate::rope::{Angles, Pairing, Rotary};
use crate::testing::{each_gpu, flat, numbers, on, tensor};
use crate::{activation, cached, logits, norm, residual, rope};

const HIDDEN: usize = 32;
const VOCAB: usize = 97;
const STEPS: usize = 11;

struct Layer {
    projections: [Weight; 3],
    output: Weight,
    mlp: [Weight; 3],
    norms: [Tensor; 2],
    cache: [Tensor; 2], // (kv_heads, capacity, dim)
    window: Option<u32>,
}

struct Decoder {
    embedding: Weight,
    layers: Vec<Layer>,
    /// Of the entries that are there at first, with gaps.
    positions: Vec<u32>,
    rotary: Rotary,
}

fn weight(seed: u64, rows: usize, cols: usize) -> Weight {
    Weight::from_f32(numbers(seed, rows * cols).iter().map(|x| x * 0.7).collect(), rows, cols).unwrap()
}

impl Decoder {
    fn new(gpu: &impl Gpu, dtype: DType, dim: usize, entries: usize) -> Self {
        let layer = |l: u64| Layer {
            projections: [(1, 4), (2, 2), (3, 2)].map(|(seed, heads)| weight(10 * l + seed, heads * dim, HIDDEN)),
            output: weight(10 * l + 4, HIDDEN, 4 * dim),
            mlp: [weight(10 * l + 5, 48, HIDDEN), weight(10 * l + 6, 48, HIDDEN), weight(10 * l + 7, HIDDEN, 48)],
            norms: [8, 9].map(|seed| on(gpu, &tensor(10 * l + seed, &[HIDDEN], &Device::Cpu))),
            cache: [100, 200].map(|seed| {
                let old = tensor(seed + l, &[2, entries + STEPS, dim], &Device::Cpu).to_dtype(dtype).unwrap();
                on(gpu, &old)
            }),
            window: (l == 1).then_some(7),
        };
        Self {
            embedding: weight(999, VOCAB, HIDDEN),
            layers: (0..2).map(layer).collect(),
            positions: (0..entries as u32).map(|i| 2 * i + i % 2).collect(),
            rotary: Rotary::plain(1e4, dim, Pairing::Half),
        }
    }

    /// One row through the layers, the kernels that depend on the step being `place`'s.
    fn step(&self, gpu: &impl Gpu, mut x: Tensor, place: &dyn Place) -> Result<Tensor> {
        for (l, layer) in self.layers.iter().enumerate() {
            let dim = layer.cache[0].dims3()?.2;
            let normed = norm::cuda::rms_norm(gpu, &x, None, &layer.norms[0], 1e-5)?;
            let [q, k, v] = &layer.projections;
            let [q, k, v] = linear::cuda::linears(gpu, &normed, [q, k, v])?;
            let [q, k, v] = [(q, 4), (k, 2), (v, 2)].map(|(x, heads)| x.reshape((1, heads, dim)).unwrap());
            place.rotate(&q)?;
            place.rotate(&k)?;
            place.write(&layer.cache[0], &k)?;
            place.write(&layer.cache[1], &v)?;
            let attended = place.attend(l, &q)?.reshape((1, 4 * dim))?;
            let [sum] = linear::cuda::linears(gpu, &attended, [&layer.output])?;
            let normed = norm::cuda::rms_norm(gpu, &sum, Some(&x), &layer.norms[1], 1e-5)?;
            let [gate, up, down] = &layer.mlp;
            let [gate, up] = linear::cuda::linears(gpu, &normed, [gate, up])?;
            let gated = activation::cuda::silu_mul(gpu, &gate, &up)?;
            let [out] = linear::cuda::linears(gpu, &gated, [down])?;
            residual::cuda::add(gpu, &out, &sum)?;
            x = out;
        }
        let [logits] = linear::cuda::linears(gpu, &x, [&self.embedding])?;
        Ok(logits)
    }

    fn visibility(&self, layer: usize) -> Visibility {
        self.layers[layer].window.map_or(Visibility::Causal, |width| Visibility::Window { width })
    }

    /// Positions of the entries once `step` steps have added theirs.
    fn positions_after(&self, step: usize) -> Vec<u32> {
        let next = self.positions.last().unwrap() + 1;
        self.positions.iter().copied().chain(next..next + step as u32).collect()
    }

    /// Tokens of ordinary decoding, whose positions come from the host.
    fn ordinary(&self, gpu: &impl Gpu, first: u32) -> Vec<u32> {
        let mut token = first;
        let step = |step| {
            let positions = self.positions_after(step + 1);
            let angles = self.rotary.angles(&positions[positions.len() - 1..], gpu.device()).unwrap();
            let x = linear::embed(&[token], &self.embedding, gpu.device()).unwrap();
            let logits = self.step(gpu, x, &Ordinary { gpu, decoder: self, angles, positions }).unwrap();
            let top = logits::cuda::top(gpu, &logits).unwrap().to_vec1::<u32>().unwrap();
            token = told(&top).unwrap().index as u32;
            token
        };
        (0..STEPS).map(step).collect()
    }
}

/// What depends on the step.
trait Place {
    fn rotate(&self, x: &Tensor) -> Result<()>;
    fn write(&self, to: &Tensor, x: &Tensor) -> Result<()>;
    fn attend(&self, layer: usize, q: &Tensor) -> Result<Tensor>;
}

struct Ordinary<'a, G> {
    gpu: &'a G,
    decoder: &'a Decoder,
    angles: Angles,
    positions: Vec<u32>,
}

impl<G: Gpu> Place for Ordinary<'_, G> {
    fn rotate(&self, x: &Tensor) -> Result<()> {
        rope::cuda::rotate(self.gpu, x, &self.angles, None)
    }

    fn write(&self, to: &Tensor, x: &Tensor) -> Result<()> {
        cached::cuda::write(self.gpu, to, self.positions.len() - 1, x, 0..2, None)
    }

    fn attend(&self, layer: usize, q: &Tensor) -> Result<Tensor> {
        let [k, v] = &self.decoder.layers[layer].cache;
        let entries = Entries { k, v, positions: &self.positions, tags: &[] };
        let rows = &self.positions[self.positions.len() - 1..];
        let sizes = attention::check("attention", q, rows, k, &self.positions)?;
        attention::cuda::attention(self.gpu, q, rows, entries, 0.3, self.decoder.visibility(layer), sizes)
    }
}

struct Ahead<'a, G> {
    gpu: &'a G,
    decoder: &'a Decoder,
    steps: &'a Steps,
    angles: Angles,
    reach: Vec<attention::cuda::Seen>,
}

impl<'a, G: Gpu> Ahead<'a, G> {
    fn new(gpu: &'a G, decoder: &'a Decoder, steps: &'a Steps) -> Self {
        let (old, all) = (decoder.positions.len(), decoder.positions_after(STEPS));
        let ranges = |layer| -> Vec<Range<usize>> {
            (old..all.len()).map(|i| decoder.visibility(layer).range(all[i], &all[..=i])).collect()
        };
        let reach = |layer| attention::cuda::Seen::of_ranges(gpu, ranges(layer)).unwrap();
        let angles = decoder.rotary.angles(&all[old..], gpu.device()).unwrap();
        Self { gpu, decoder, steps, angles, reach: (0..2).map(reach).collect() }
    }

    fn step(&self) -> Result<()> {
        let x = linear::cuda::embed(self.gpu, &self.decoder.embedding, &self.steps.token)?;
        cuda::turn(self.gpu, self.steps, &self.decoder.step(self.gpu, x, self)?)
    }
}

impl<G: Gpu> Place for Ahead<'_, G> {
    fn rotate(&self, x: &Tensor) -> Result<()> {
        rope::cuda::rotate(self.gpu, x, &self.angles, Some(&self.steps.at))
    }

    fn write(&self, to: &Tensor, x: &Tensor) -> Result<()> {
        cached::cuda::write(self.gpu, to, self.decoder.positions.len(), x, 0..2, Some(&self.steps.at))
    }

    fn attend(&self, layer: usize, q: &Tensor) -> Result<Tensor> {
        let [k, v] = &self.decoder.layers[layer].cache;
        let sizes = attention::check("attention", q, &[0], k, &[])?;
        attention::cuda::attend(self.gpu, q, [k, v], &self.reach[layer], 0.3, sizes, Some(&self.steps.at))
    }
}

/// On f32 in one share, on tensor cores in several.
#[test]
fn replayed_steps_decode_what_ordinary_ones_decode() {
    each_gpu!(|gpu| {
        for (dtype, dim, entries, first) in
            [(DType::F32, 20, 5, 3), (DType::BF16, 64, 700, 60), (DType::F16, 16, 40, 0)]
        {
            let ordinary = Decoder::new(gpu, dtype, dim, entries);
            let want = ordinary.ordinary(gpu, first);
            assert!(want.iter().any(|token| *token != want[0]), "tokens that differ: {want:?}");
            let decoder = Decoder::new(gpu, dtype, dim, entries);
            let steps = Steps::new(first, STEPS, gpu.device()).unwrap();
            let ahead = Ahead::new(gpu, &decoder, &steps);
            // The first step loads what recording must not load.
            ahead.step().unwrap();
            let recording = gpu.record(|| ahead.step()).unwrap();
            for _ in 1..STEPS {
                gpu.replay(&recording).unwrap();
            }
            let tops = steps.read(0..STEPS).unwrap().into_iter().map(|top| top.unwrap().index as u32);
            assert_eq!(tops.collect::<Vec<_>>(), want, "{dtype:?} {dim}");
            assert_eq!(steps.at.to_vec1::<u32>().unwrap(), [STEPS as u32]);
            for (got, want) in decoder.layers.iter().zip(&ordinary.layers) {
                for (got, want) in got.cache.iter().zip(&want.cache) {
                    let [got, want] = [got, want].map(|of| flat(&of.to_dtype(DType::F32).unwrap()));
                    // Shares of the entries are added up in another order, and entries are rounded.
                    assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 2e-2 * w.abs().max(1.0)));
                }
            }
        }
    });
}

#[test]
fn a_recording_does_nothing_until_it_is_replayed() {
    each_gpu!(|gpu| {
        let (x, y) = (tensor(1, &[2, 9], &Device::Cpu), tensor(2, &[2, 9], &Device::Cpu));
        let (here, sum) = (on(gpu, &y.copy().unwrap()), (&x + &y).unwrap());
        let there = on(gpu, &x);
        let recording = gpu.record(|| residual::cuda::add(gpu, &here, &there)).unwrap();
        assert_eq!(flat(&here), flat(&y));
        gpu.replay(&recording).unwrap();
        assert_eq!(flat(&here), flat(&sum));
    });
}

#[test]
fn what_cannot_be_repeated_is_refused_and_recording_ends() {
    each_gpu!(|gpu| {
        let refused = gpu.record(|| gpu.upload(vec![1u32]).map(|_| ()));
        assert!(refused.is_err());
        let failed = gpu.record(|| Err(Error::Unsupported { op: "test", what: "this".into() }));
        assert!(matches!(failed, Err(Error::Unsupported { op: "test", .. })));
        // The device still works.
        let x = on(gpu, &tensor(1, &[3], &Device::Cpu));
        residual::cuda::add(gpu, &x, &on(gpu, &x.copy().unwrap())).unwrap();
        assert_eq!(flat(&x), flat(&(tensor(1, &[3], &Device::Cpu) * 2.0).unwrap()));
        let unknown = gpu.launch(Launch::new("no_such_kernel", [1, 1, 1], 32, Vec::new()));
        assert!(unknown.is_err());
    });
}

#[test]
fn drawn_steps_are_those_of_the_cpu() {
    let how = Drawing { penalty: 1.5, temperature: 1.1, top_k: 60, top_p: 0.9, min_p: 0.0 };
    let randoms: Vec<u64> = (1..12u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    each_gpu!(|gpu| {
        let [here, there] =
            [&Device::Cpu, gpu.device()].map(|device| Steps::drawing(how, &[3, 70, 5], 4, &randoms, device).unwrap());
        // Behind the last one nothing happens.
        for seed in 0..=randoms.len() as u64 {
            let logits = (tensor(seed, &[1, VOCAB], &Device::Cpu) * 3.0).unwrap();
            here.turn(&logits.copy().unwrap()).unwrap();
            cuda::turn(gpu, &there, &on(gpu, &logits)).unwrap();
        }
        let told = |steps: &Steps| -> Vec<_> {
            let all = steps.read(0..randoms.len()).unwrap().into_iter().map(Result::unwrap);
            all.map(|pick| (pick.index, pick.value)).collect()
        };
        assert_eq!(told(&there), told(&here));
        assert_eq!(there.token().unwrap(), here.token().unwrap());
        assert_eq!(there.at.to_vec1::<u32>().unwrap(), [randoms.len() as u32]);
    });
}

#[test]
fn steps_end_where_their_room_ends() {
    each_gpu!(|gpu| {
        let steps = Steps::new(5, 2, gpu.device()).unwrap();
        for best in [3usize, 1, 0] {
            let mut logits = vec![0f32; 4];
            logits[best] = 9.0;
            cuda::turn(gpu, &steps, &on(gpu, &Tensor::new(logits, &Device::Cpu).unwrap())).unwrap();
        }
        let told: Vec<usize> = steps.read(0..2).unwrap().into_iter().map(|top| top.unwrap().index).collect();
        assert_eq!((told, steps.token.to_vec1::<u32>().unwrap()), (vec![3, 1], vec![1]));
    });
}
