use candle_core::Device;
use skimlm_core::{Code, Model, Which};
use skimlm_kernels::linear::BlockType;

use super::{argmax, floats, inspect, open, open_with, walk};
use crate::weights::gguf::write::{TensorData, Tiny, write_gguf, write_tiny};
use crate::weights::random::{Random, Sizes, golden_ids};
use crate::weights::{LayerPart, Part};
use crate::{Decoder, OpenOptions, Opened, Source};

const FULL: [f32; 6] = [0.43779, 0.06069, -0.57557, 0.08559, -0.12044, -0.37390];

fn golden() -> Decoder {
    Decoder::new(&Random::new(&Sizes::default()).unwrap(), &Device::Cpu).unwrap()
}

fn tiny(tiny: &Tiny) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    write_tiny(&folder.path().join("tiny.gguf"), tiny).unwrap();
    open(folder.path()).unwrap().model
}

fn assert_near(got: &[f32], want: &[f32], tolerance: f32) {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() < tolerance, "{i}: {got} is not {want}");
    }
}

#[test]
fn the_random_model_gives_the_golden_logits() {
    let (logits, _) = walk(&golden(), &golden_ids(48, 97));
    assert_eq!(logits.len(), 97);
    assert_near(&logits, &FULL, 1e-4);
    assert_eq!(argmax(&logits), 43);
}

#[test]
fn a_file_of_it_with_interleaved_rotation_does_too() {
    let (from_file, _) = walk(&tiny(&Tiny::default()), &golden_ids(48, 97));
    let (logits, _) = walk(&golden(), &golden_ids(48, 97));
    assert_eq!(from_file.len(), Tiny::default().sizes.vocab);
    assert_near(&from_file[..97], &logits, 1e-4);
    assert_eq!(argmax(&from_file[..97]), 43);
}

/// A file of blocks must answer as a file of the floats that the blocks stand for.
#[test]
fn every_block_format_answers_as_its_floats() {
    let sizes = Sizes { vocab: 97, hidden: 256, head_dim: 64, mlp: 256, layers: 2, ..Sizes::default() };
    // So few rows are multiplied without rounding.
    let ids = golden_ids(8, 97);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    for block in [
        BlockType::F16,
        BlockType::BF16,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q8_0,
        BlockType::Q2K,
        BlockType::Q3K,
        BlockType::Q4K,
        BlockType::Q5K,
        BlockType::Q6K,
    ] {
        let tiny = Tiny { sizes: sizes.clone(), block, tokenizer: false, chat_template: None };
        write_tiny(&path, &tiny).unwrap();
        let Opened { model, source: Source::Gguf(gguf) } = open(&path).unwrap() else { panic!("a GGUF file") };
        assert_eq!(inspect(&path).unwrap().tensor_types[0].tensors, 2 * 7 + 2, "{block:?}");
        let (logits, _) = walk(&model, &ids);
        let plain = |wanted: TensorData| {
            let weight = gguf.tensor(&wanted.name).unwrap();
            TensorData::new(&wanted.name, &floats(&weight), weight.cols(), BlockType::F32).unwrap()
        };
        let tensors: Vec<_> = tiny.tensors().unwrap().into_iter().map(plain).collect();
        let plain = folder.path().join("plain.gguf");
        write_gguf(&plain, &tiny.metadata().unwrap(), &tensors).unwrap();
        let (expected, _) = walk(&open(&plain).unwrap().model, &ids);
        let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        assert_near(&logits, &expected, 1e-3 * largest);
    }
}

#[test]
fn a_subset_of_projections_equals_the_full_one() {
    let model = golden();
    let x = model.embed(&golden_ids(5, 97)).unwrap();
    let all = model.project(1, &x, Which::ALL).unwrap();
    let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(all.q.as_ref().unwrap().dims(), [5, 4, 8]);
    assert_eq!(all.k.as_ref().unwrap().dims(), [5, 2, 8]);
    for bits in 0..8 {
        let which = Which { q: bits & 1 > 0, k: bits & 2 > 0, v: bits & 4 > 0 };
        let some = model.project(1, &x, which).unwrap();
        for (wanted, some, all) in [(which.q, &some.q, &all.q), (which.k, &some.k, &all.k), (which.v, &some.v, &all.v)]
        {
            assert_eq!(some.is_some(), wanted, "{which:?}");
            if let (Some(some), Some(all)) = (some, all) {
                assert_near(&values(some), &values(all), 1e-6);
            }
        }
    }
}

#[test]
fn ids_and_layers_outside_the_model_are_refused() {
    let model = golden();
    let error = model.embed(&[1, 97]).unwrap_err();
    assert_eq!((error.code, &error.details["index"]), (Code::InvalidArg, &1.into()));
    let x = model.embed(&[1]).unwrap();
    assert_eq!(model.project(6, &x, Which::K).unwrap_err().code, Code::InvalidArg);
}

/// Biases, head norms, a tied head and stored rotary factors, each against what it must amount to.
#[test]
fn the_switches_follow_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Tiny { tokenizer: false, ..Tiny::default() };
    let width = 8;
    let write = |name: &str, change: &dyn Fn(&mut Vec<TensorData>)| {
        let mut tensors = plain.tensors().unwrap();
        change(&mut tensors);
        let path = folder.path().join(name);
        write_gguf(&path, &plain.metadata().unwrap(), &tensors).unwrap();
        open(&path).unwrap().model
    };
    let vector =
        |part: Part, values: &[f32]| TensorData::new(&part.gguf(), values, values.len(), BlockType::F32).unwrap();
    let base = write("plain.gguf", &|_| {});
    let x = base.embed(&[7, 8]).unwrap();
    let of = |model: &Decoder| model.project(0, &x, Which::ALL).unwrap();
    let values = |t: Option<candle_core::Tensor>| t.unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();

    let biased = write("bias.gguf", &|tensors| {
        for l in 0..6 {
            for (part, n) in [(LayerPart::QueryBias, 32), (LayerPart::KeyBias, 16), (LayerPart::ValueBias, 16)] {
                tensors.push(vector(Part::Layer(l, part), &vec![0.5; n]));
            }
        }
    });
    let shifted: Vec<f32> = values(of(&base).k).iter().map(|k| k + 0.5).collect();
    assert_near(&values(of(&biased).k), &shifted, 1e-6);

    let normed = write("norm.gguf", &|tensors| {
        for l in 0..6 {
            tensors.push(vector(Part::Layer(l, LayerPart::QueryNorm), &vec![2.0; width]));
            tensors.push(vector(Part::Layer(l, LayerPart::KeyNorm), &vec![2.0; width]));
        }
    });
    for head in values(of(&normed).q).chunks(width) {
        let mean: f32 = head.iter().map(|x| x * x).sum::<f32>() / width as f32;
        assert!((mean - 4.0).abs() < 1e-2, "{mean}");
    }
    assert_eq!(values(of(&normed).v), values(of(&base).v));

    let tied = write("tied.gguf", &|tensors| tensors.retain(|t| t.name != Part::Head.gguf()));
    assert!(tied.config().tied_head && !base.config().tied_head);
    let logits = values(Some(tied.head(&x).unwrap()));
    let vocab = plain.sizes.vocab;
    assert!(argmax(&logits[..vocab]) == 7 && argmax(&logits[vocab..]) == 8, "an embedding is nearest to itself");

    let factors = TensorData::new("rope_freqs.weight", &[1.0, 2.0, 4.0, 8.0], 4, BlockType::F32).unwrap();
    let scaled = write("rope.gguf", &|tensors| tensors.push(factors.clone()));
    let plain_rotary = &base.rotaries(1)[0];
    let ratios: Vec<f64> =
        plain_rotary.inv_freq.iter().zip(&scaled.rotaries(1)[0].inv_freq).map(|(p, s)| p / s).collect();
    assert_eq!(ratios, [1.0, 2.0, 4.0, 8.0]);
}

#[test]
fn loading_reports_bytes_and_can_be_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    write_tiny(&path, &Tiny::default()).unwrap();
    let mut seen = Vec::new();
    let mut note = |done, total| {
        seen.push((done, total));
        Ok(())
    };
    open_with(&path, OpenOptions { verify: true, progress: Some(&mut note), ..OpenOptions::default() }).unwrap();
    let bytes: u64 = inspect(&path).unwrap().tensor_types.iter().map(|of| of.bytes).sum();
    assert_eq!((seen.first(), seen.last()), (Some(&(0, bytes)), Some(&(bytes, bytes))));
    assert!(seen.is_sorted());
    let mut stop = |_, _| Err(skimlm_core::Error::new(Code::Cancelled, "enough"));
    let options = OpenOptions { progress: Some(&mut stop), ..OpenOptions::default() };
    assert_eq!(open_with(&path, options).err().unwrap().code, Code::Cancelled);
}
