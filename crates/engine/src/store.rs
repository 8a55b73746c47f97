//! What a session has read, kept for later: demonstrations are read once, reduced to their anchors, saved,
//! and every question goes on behind them (AnLLM's in-context setting, arXiv 2402.07616).

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use skimlm_core::{
    Code, Error, FNV_START, KvCache, LayerCache, Model, Pass, Policy, Result, Role, Rows, Shape, Stage, fnv1a,
};
use skimlm_kernels::cached::Q8_0;
use skimlm_policies::Full;

use crate::control::{Cancel, Control, DEFAULT_CHUNK};
use crate::files;
use crate::session::Session;
use crate::walk::walk;

/// Entries of every layer with their positions and tags, and the model they belong to.
#[derive(Debug)]
pub struct Store {
    header: Header,
    layers: Vec<Layer>,
    /// Some logits of the model on fixed tokens: a fingerprint that no file format or processor changes
    /// by more than rounding.
    probe: Vec<f32>,
}

#[derive(Debug)]
struct Layer {
    k: Tensor, // (kv_heads, entries, width)
    v: Tensor,
    positions: Vec<u32>,
    tags: Vec<u32>,
}

/// What the file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    version: u32,
    next_position: u32,
    /// Positions of a text that the keys were turned for; version 1 did not say.
    #[serde(default)]
    turned_for: usize,
    /// Sizes of the model, for the message when they differ.
    model: String,
    layers: usize,
    /// Of everything but this.
    checksum: u64,
}

impl Header {
    /// Where the checksum begins.
    fn sum(&self) -> serde_json::Result<u64> {
        Ok(mix(0, HEADER, &serde_json::to_vec(&Self { checksum: 0, ..self.clone() })?))
    }
}

const VERSION: u32 = 2;
const HEADER: &str = "skimlm";
/// Tokens of the probe, and logits kept of it.
const PROBE_TOKENS: usize = 4;
const PROBE_LOGITS: usize = 64;
/// Largest difference of a logit, relative to the largest logit, that is taken for rounding.
const ROUNDING: f32 = 0.01;

impl Store {
    /// What a session has read so far. Its next token's position goes with it; a policy that remembers more
    /// than the cache holds starts afresh.
    ///
    /// `ERR_POLICY_UNSUPPORTED` if heads keep different entries.
    pub fn of(session: &Session<'_>) -> Result<Self> {
        let shape = session.model().shape();
        let layers = (0..shape.layers.len())
            .map(|layer| match session.cache().layer(layer)?.banks() {
                [bank] => {
                    let entries = bank.entries()?;
                    // A copy in any case: the session goes on in the memory it has.
                    let used = |x: &Tensor| x.narrow(1, 0, bank.len())?.force_contiguous();
                    Ok(Layer {
                        k: used(entries.k)?,
                        v: used(entries.v)?,
                        positions: bank.positions().to_vec(),
                        tags: bank.tags().to_vec(),
                    })
                }
                _ => Err(Error::new(
                    Code::PolicyUnsupported,
                    format!("The heads of layer {layer} keep different entries, which cannot be stored; use `anllm`."),
                )),
            })
            .collect::<Result<Vec<_>>>()?;
        let header = Header {
            version: VERSION,
            next_position: session.next_position(),
            turned_for: session.turned_for(),
            model: describe(shape),
            layers: layers.len(),
            checksum: 0,
        };
        Ok(Self { header, layers, probe: probe(session.model())? })
    }

    /// Entries of each layer.
    pub fn lengths(&self) -> Vec<usize> {
        self.layers.iter().map(|layer| layer.positions.len()).collect()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| 2 * layer.k.elem_count() * layer.k.dtype().size_in_bytes()).sum()
    }

    /// Writes a safetensors file, whole or not at all. `ERR_STORAGE` if the disk is full or forbids it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut tensors =
            vec![("probe".to_owned(), Dtype::F32, vec![self.probe.len()], le(&self.probe, |x| x.to_le_bytes()))];
        for (i, layer) in self.layers.iter().enumerate() {
            for (name, tensor) in [("k", &layer.k), ("v", &layer.v)] {
                let (dtype, bytes) = bytes_of(tensor)?;
                tensors.push((format!("layer.{i}.{name}"), dtype, tensor.dims().to_vec(), bytes));
            }
            for (name, list) in [("positions", &layer.positions), ("tags", &layer.tags)] {
                tensors.push((
                    format!("layer.{i}.{name}"),
                    Dtype::U32,
                    vec![list.len()],
                    le(list, |x| x.to_le_bytes()),
                ));
            }
        }
        let internal =
            |e: &dyn std::fmt::Display| Error::new(Code::Internal, format!("the store cannot be written: {e}"));
        let mut checksum = self.header.sum().map_err(|e| internal(&e))?;
        for (name, dtype, shape, bytes) in &tensors {
            checksum = mix(checksum, &labelled(name, *dtype, shape), bytes);
        }
        let header = serde_json::to_string(&Header { checksum, ..self.header.clone() }).map_err(|e| internal(&e))?;
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| internal(&e))?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        files::write(path, &safetensors::serialize(views, Some(metadata)).map_err(|e| internal(&e))?)
    }

    /// Reads what [`Store::write`] wrote. `ERR_STORAGE` if it cannot be read, `ERR_MODEL_CORRUPT` if it is
    /// damaged or something else.
    pub fn read(path: &Path) -> Result<Self> {
        parse(&files::read(path)?).map_err(|what| {
            let message = format!("{} is no store that can be used: {what}. Make it again.", path.display());
            Error::new(Code::ModelCorrupt, message).with("path", path.display().to_string())
        })
    }

    /// Checks that the entries are of this model. `ERR_INVALID_ARG` if not.
    pub fn bind<'s>(&'s self, model: &'s dyn Model) -> Result<Bound<'s>> {
        let found = describe(model.shape());
        let refuse = |what: String| {
            Error::new(Code::InvalidArg, format!("The store is of another model: {what}. Make it again with this one."))
                .with("option", "store")
                .with("value", self.header.model.clone())
                .with("expected", found.clone())
        };
        if found != self.header.model {
            return Err(refuse(format!("it is of {}, this is {found}", self.header.model)));
        }
        let now = probe(model)?;
        let most = now.iter().fold(0f32, |most, x| most.max(x.abs()));
        let same = |(a, b): (&f32, &f32)| (a - b).abs() <= ROUNDING * most;
        if now.len() != self.probe.len() || !now.iter().zip(&self.probe).all(same) {
            return Err(refuse("the sizes are the same, the weights are not".into()));
        }
        Ok(Bound { store: self, model })
    }
}

/// A store beside its model.
#[derive(Clone, Copy)]
pub struct Bound<'s> {
    store: &'s Store,
    model: &'s dyn Model,
}

impl<'s> Bound<'s> {
    /// A session behind the stored entries. Each has its own copy. `ERR_INVALID_ARG` where the model's device
    /// cannot read entries of their type.
    pub fn session(&self, policy: Box<dyn Policy>) -> Result<Session<'s>> {
        let (shape, device) = (self.model.shape(), self.model.device());
        let layers = self.store.layers.iter().map(|layer| {
            let Layer { k, v, positions, tags } = layer;
            let copy = |x: &Tensor| x.to_device(device)?.copy();
            crate::device::check_entries(device, k.dtype(), "store")?;
            LayerCache::from_entries(shape, copy(k)?, copy(v)?, positions.clone(), tags.clone())
        });
        let cache = KvCache::from_layers(shape, layers.collect::<Result<_>>()?)?;
        let dtype = self.store.layers.first().map_or(DType::F16, |layer| layer.k.dtype());
        let Header { next_position, turned_for, .. } = self.store.header;
        Ok(Session::behind(self.model, policy, cache, dtype, next_position, turned_for))
    }
}

fn describe(shape: &Shape) -> String {
    let Shape { hidden, heads, kv_heads, head_dim, vocab, layers, .. } = shape;
    format!("{} layers of {hidden}, {heads} heads and {kv_heads} kv heads of {head_dim}, {vocab} tokens", layers.len())
}

/// Some logits behind a few tokens from all over the vocabulary.
fn probe(model: &dyn Model) -> Result<Vec<f32>> {
    let shape = model.shape();
    let tokens = (0..PROBE_TOKENS).map(|i| (i * shape.vocab / PROBE_TOKENS) as u32).collect();
    let pass = Pass {
        stage: Stage::Prefill,
        rows: Rows::consecutive(tokens, 0, Role::Document),
        layers: 0..shape.layers.len(),
    };
    let mut cache = KvCache::new(shape, DType::F32, model.device(), PROBE_TOKENS)?;
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: DEFAULT_CHUNK, headroom: 0 };
    let walked = walk(model, &mut cache, DType::F32, &mut Full {}, pass, &mut control)?;
    let hidden = walked.hidden.ok_or_else(|| Error::new(Code::Internal, "the probe did not reach the end."))?;
    let logits = model.head(&hidden.narrow(0, PROBE_TOKENS - 1, 1)?)?.flatten_all()?.to_vec1::<f32>()?;
    let step = logits.len().div_ceil(PROBE_LOGITS).max(1);
    Ok(logits.into_iter().step_by(step).collect())
}

fn le<T: Copy, const N: usize>(list: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    list.iter().flat_map(|&x| bytes(x)).collect()
}

fn bytes_of(tensor: &Tensor) -> Result<(Dtype, Vec<u8>)> {
    let flat = tensor.flatten_all()?.to_device(&Device::Cpu)?;
    Ok(match tensor.dtype() {
        DType::F16 => (Dtype::F16, le(&flat.to_vec1::<f16>()?, |x| x.to_le_bytes())),
        DType::BF16 => (Dtype::BF16, le(&flat.to_vec1::<bf16>()?, |x| x.to_le_bytes())),
        Q8_0 => (Dtype::U8, flat.to_vec1::<u8>()?),
        _ => (Dtype::F32, le(&flat.to_vec1::<f32>()?, |x| x.to_le_bytes())),
    })
}

/// What a tensor's bytes mean, for the checksum.
fn labelled(name: &str, dtype: Dtype, shape: &[usize]) -> String {
    format!("{name} {dtype:?} {shape:?}")
}

/// FNV-1a over a name and its bytes: damage, not malice, is to be seen.
fn mix(sum: u64, name: &str, bytes: &[u8]) -> u64 {
    fnv1a(sum ^ FNV_START, name.bytes().chain(bytes.iter().copied()))
}

/// What is wrong is for the caller to say of which file.
fn parse(bytes: &[u8]) -> std::result::Result<Store, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(HEADER)).ok_or("it has no header of a store")?;
    let header: Header = serde_json::from_str(header).map_err(|e| e.to_string())?;
    if header.version != VERSION {
        return Err(format!("it has version {}, this is {VERSION}", header.version));
    }
    let find = |name: &str| file.tensor(name).map_err(|e| e.to_string());
    let names = (0..header.layers.min(bytes.len()))
        .flat_map(|i| ["k", "v", "positions", "tags"].map(|part| format!("layer.{i}.{part}")));
    let mut checksum = header.sum().map_err(|e| e.to_string())?;
    for name in ["probe".to_owned()].into_iter().chain(names) {
        let view = find(&name)?;
        checksum = mix(checksum, &labelled(&name, view.dtype(), view.shape()), view.data());
    }
    if checksum != header.checksum {
        return Err("its checksum is wrong".into());
    }
    let words = |name: &str| -> std::result::Result<Vec<u32>, String> {
        let (chunks, _) = find(name)?.data().as_chunks::<4>();
        Ok(chunks.iter().map(|b| u32::from_le_bytes(*b)).collect())
    };
    let numbers = |name: &str| -> std::result::Result<Tensor, String> {
        let view = find(name)?;
        let dtype = match view.dtype() {
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F32 => DType::F32,
            Dtype::U8 => Q8_0,
            other => return Err(format!("{name} is {other:?}")),
        };
        Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu).map_err(|e| e.to_string())
    };
    let layers = (0..header.layers)
        .map(|i| {
            let name = |part: &str| format!("layer.{i}.{part}");
            Ok(Layer {
                k: numbers(&name("k"))?,
                v: numbers(&name("v"))?,
                positions: words(&name("positions"))?,
                tags: words(&name("tags"))?,
            })
        })
        .collect::<std::result::Result<_, String>>()?;
    let probe = words("probe")?.into_iter().map(f32::from_bits).collect();
    Ok(Store { header, layers, probe })
}

#[cfg(test)]
mod tests {
    use skimlm_models::Decoder;
    use skimlm_models::weights::random::{Random, Sizes};

    use super::*;

    // What files hold must not change within a version.
    #[test]
    fn checksums_are_fnv_1a() {
        assert_eq!(mix(0, "", b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(mix(0, "foo", b"bar"), 0x8594_4171_F739_67E8);
        assert_eq!(mix(mix(0, "foo", b"bar"), "baz", b""), 0x9F4E_1EB6_A6E5_8D4A);
    }

    #[test]
    fn a_hundredth_of_the_largest_logit_is_rounding() {
        struct Plain;
        impl Policy for Plain {}
        let model = Decoder::new(&Random::new(&Sizes::default()).unwrap(), &Device::Cpu).unwrap();
        let session = Session::new(&model, Box::new(Plain), DType::F32).unwrap();
        let most = probe(&model).unwrap().iter().fold(0f32, |most, x| most.max(x.abs()));
        for (off, same) in [(0.9, true), (-0.9, true), (1.1, false), (-1.1, false)] {
            let mut store = Store::of(&session).unwrap();
            store.probe[3] += off * most / 100.0;
            assert_eq!(store.bind(&model).is_ok(), same, "{off} of the largest, {most}");
        }
    }

    #[test]
    fn the_probe_is_every_other_logit_behind_tokens_from_all_over() {
        let model =
            Decoder::new(&Random::new(&Sizes { vocab: 97, ..Sizes::default() }).unwrap(), &Device::Cpu).unwrap();
        let mut session = Session::new(&model, Box::new(Full {}), DType::F32).unwrap();
        let cancel = Cancel::default();
        let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 4, headroom: 0 };
        let rows = Rows::consecutive(vec![0, 24, 48, 72], 0, Role::Document);
        let logits = session.prefill(rows, &mut control).unwrap();
        assert_eq!(probe(&model).unwrap(), logits.into_iter().step_by(2).collect::<Vec<_>>());
    }
}
