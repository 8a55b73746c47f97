//! What was read once and saved is as good as read anew.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device};
use serde_json::json;
use skimlm_core::{Code, Policy, Role, Rows, Shape};
use skimlm_engine::{Cancel, Control, Session, Store};
use skimlm_kernels::cached::Q8_0;
use skimlm_models::Decoder;
use skimlm_models::weights::random::{Random, Sizes, golden_ids};
use skimlm_policies::{Context, PolicySpec};

fn model(sizes: &Sizes) -> Decoder {
    Decoder::new(&Random::new(sizes).unwrap(), &Device::Cpu).unwrap()
}

fn policy(shape: &Shape, policy: &serde_json::Value) -> Box<dyn Policy> {
    let context = Context::new(shape, 2);
    PolicySpec::parse(policy).unwrap().build(&context).unwrap()
}

fn anchors(shape: &Shape) -> Box<dyn Policy> {
    policy(shape, &json!({ "kind": "anllm", "anchors": [2, 5, 51, 76] }))
}

fn read(session: &mut Session<'_>, tokens: &[u32]) -> Vec<f32> {
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 16, headroom: 0 };
    session.prefill(Rows::consecutive(tokens.to_vec(), 0, Role::Document), &mut control).unwrap()
}

#[test]
fn questions_go_on_behind_stored_anchors() {
    use skimlm_core::Model;
    let model = model(&Sizes { hidden: 64, heads: 2, kv_heads: 1, head_dim: 32, ..Sizes::default() });
    let ids = golden_ids(48, 97);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demonstrations.safetensors");
    for dtype in [DType::F32, DType::F16, DType::BF16, Q8_0] {
        let mut whole = Session::new(&model, anchors(model.shape()), dtype).unwrap();
        read(&mut whole, &ids[..40]);
        let store = Store::of(&whole).unwrap();
        store.write(&path).unwrap();
        assert_eq!(store.lengths(), whole.cache().lengths());
        assert_eq!(store.bytes(), whole.cache().bytes());
        assert!(store.lengths()[0] < 20, "{:?}", store.lengths());

        let stored = Store::read(&path).unwrap();
        let bound = stored.bind(&model).unwrap();
        let want = read(&mut whole, &ids[40..]);
        for _ in 0..2 {
            let mut session = bound.session(anchors(model.shape())).unwrap();
            assert_eq!(session.next_position(), 40);
            assert_eq!(read(&mut session, &ids[40..]), want, "{dtype:?}: bit for bit");
            assert_eq!(session.next_position(), 48);
        }
    }
}

#[test]
fn another_model_and_damage_are_refused() {
    use skimlm_core::Model;
    let one = model(&Sizes::default());
    let mut session = Session::new(&one, anchors(one.shape()), DType::F16).unwrap();
    read(&mut session, &golden_ids(30, 97));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.safetensors");
    Store::of(&session).unwrap().write(&path).unwrap();
    let store = Store::read(&path).unwrap();

    let other_sizes = model(&Sizes { layers: 5, ..Sizes::default() });
    // The same sizes and other numbers: a base of the rotation that only the results show.
    let other_weights = model(&Sizes { theta: 50.0, ..Sizes::default() });
    for other in [&other_sizes, &other_weights] {
        let error = store.bind(other).err().unwrap();
        assert_eq!((error.code, error.details["option"].as_str()), (Code::InvalidArg, Some("store")), "{error}");
    }
    assert!(store.bind(&other_sizes).err().unwrap().message.contains("it is of 6 layers"));

    let bytes = std::fs::read(&path).unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        Store::read(&path).err().unwrap().code
    };
    assert_eq!(damaged(&|b| b.truncate(b.len() / 2)), Code::ModelCorrupt);
    assert_eq!(damaged(&|b| *b.last_mut().unwrap() ^= 1), Code::ModelCorrupt);
    assert_eq!(damaged(&|b| b[12] ^= 0xFF), Code::ModelCorrupt);
    assert_eq!(damaged(&|b| b.clear()), Code::ModelCorrupt);
    let replaced = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        damaged(&|b| b[at..at + to.len()].copy_from_slice(to))
    };
    assert_eq!(replaced(br#"next_position\":30"#, br#"next_position\":31"#), Code::ModelCorrupt);
    // The probe is read as bits whatever its type: only the checksum sees this.
    assert_eq!(replaced(br#""dtype":"F32""#, br#""dtype":"U32""#), Code::ModelCorrupt);
    let mut older = bytes.clone();
    let said = [(&br#"version\":2"#[..], &br#"version\":1"#[..]), (br#"turned_for"#, br#"turned_why"#)];
    for (from, to) in said {
        let at = older.windows(from.len()).position(|window| window == from).unwrap();
        older[at..at + to.len()].copy_from_slice(to);
    }
    std::fs::write(&path, older).unwrap();
    assert!(Store::read(&path).err().unwrap().message.contains("it has version 1, this is 2"));
    assert_eq!(Store::read(&folder.path().join("none")).err().unwrap().code, Code::Storage);
}

#[test]
fn entries_that_differ_by_head_cannot_be_stored() {
    use skimlm_core::Model;
    let model = model(&Sizes::default());
    let snapkv = policy(model.shape(), &json!({ "kind": "snapkv", "budget": 8, "window": 2 }));
    let mut session = Session::new(&model, snapkv, DType::F16).unwrap();
    read(&mut session, &golden_ids(30, 97));
    assert_eq!(Store::of(&session).err().unwrap().code, Code::PolicyUnsupported);
}
