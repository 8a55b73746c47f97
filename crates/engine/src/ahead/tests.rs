use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use skimlm_core::{LayerShape, Model, Projected, Role, Rotary, Rows, Shape};
use skimlm_models::Decoder;
use skimlm_models::weights::random::{Random, Sizes};
use skimlm_policies::{Context, PolicySpec};

use super::*;
use crate::control::Cancel;
use crate::sample::{Sampler, Sampling};

/// A random model, some of whose layers see a window only, and that may be unable to look tokens up by itself.
struct Windowed {
    model: Decoder,
    shape: Shape,
    looks_up: bool,
}

fn model(looks_up: bool) -> Windowed {
    let model = Decoder::new(&Random::new(&Sizes::default()).unwrap(), &Device::Cpu).unwrap();
    let mut shape = model.shape().clone();
    shape.layers[1] = LayerShape { window: Some(5), ..shape.layers[1] };
    shape.layers[4] = LayerShape { window: Some(40), ..shape.layers[4] };
    Windowed { model, shape, looks_up }
}

impl Model for Windowed {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn device(&self) -> &Device {
        self.model.device()
    }

    fn rotaries(&self, length: usize) -> Vec<Rotary> {
        self.model.rotaries(length)
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        self.model.embed(ids)
    }

    fn embed_ahead(&self, steps: &Steps) -> Result<Tensor> {
        match self.looks_up {
            true => self.model.embed_ahead(steps),
            false => Err(Error::new(Code::Device, "no look-up here.")),
        }
    }

    fn project(&self, layer: usize, x: &Tensor, which: Which) -> Result<Projected> {
        self.model.project(layer, x, which)
    }

    fn finish(&self, layer: usize, x: &Tensor, attended: Tensor) -> Result<Tensor> {
        self.model.finish(layer, x, attended)
    }

    fn head(&self, x: &Tensor) -> Result<Tensor> {
        self.model.head(x)
    }
}

/// Tokens with their probabilities, and what is left behind.
#[derive(Debug, PartialEq)]
struct Told {
    tokens: Vec<(u32, f32)>,
    entries: Vec<Vec<Vec<u32>>>,
    next_position: u32,
    warnings: Vec<&'static str>,
    /// Steps that were ahead.
    ahead: usize,
}

/// Decodes `count` tokens behind a prompt, the last of which is never read.
fn decode(model: &Windowed, policy: &Value, sampling: Sampling, count: usize, willing: bool) -> Told {
    // Told of no windows, which some policies refuse: whether steps are ahead does not depend on what they choose.
    let context = Context::new(model.model.shape(), 2);
    let spec = PolicySpec::parse(policy).unwrap();
    let mut session = Session::new(model, spec.build(&context).unwrap(), DType::F16).unwrap();
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 16, headroom: 0 };
    let mut rows = Rows::consecutive((0..40).map(|i| i * 31 % 97).collect(), 0, Role::Document);
    rows.roles[34..].fill(Role::Question);
    let logits = session.prefill(rows, &mut control).unwrap();
    let mut next = Next::Logits(Tensor::from_slice(&logits, logits.len(), &Device::Cpu).unwrap());
    let mut sampler = Sampler::new(sampling).unwrap();
    let mut stepper = Stepper::new(&session, willing);
    let (mut warnings, mut tokens, mut ahead) = (Vec::new(), Vec::new(), 0);
    loop {
        ahead += usize::from(matches!(next, Next::Pick(_)));
        tokens.push(sampler.choose(next).unwrap());
        if tokens.len() == count {
            break;
        }
        sampler.follow(&[tokens[tokens.len() - 1].0]);
        let left = count - tokens.len();
        next = stepper.step(&mut session, left, &sampler, &mut control, &mut warnings).unwrap();
    }
    let cache = session.cache();
    let banks = |layer| cache.layer(layer).unwrap().banks().iter().map(|bank| bank.positions().to_vec()).collect();
    Told {
        tokens,
        entries: (0..cache.lengths().len()).map(banks).collect(),
        next_position: session.next_position(),
        warnings: warnings.iter().map(|warning| warning.code).collect(),
        ahead,
    }
}

/// The policies, and whether they are steady.
fn policies() -> Vec<(Value, bool)> {
    let all = [
        (json!({ "kind": "full" }), true),
        (json!({ "kind": "auto" }), true),
        (json!({ "kind": "gemfilter", "budget": 20, "layer": 2 }), true),
        (json!({ "kind": "promptdistill", "stages": [{ "layer": 2, "budget": 20 }] }), true),
        (json!({ "kind": "snapkv", "budget": 20, "window": 4 }), true),
        (json!({ "kind": "pyramidkv", "budget": 20, "window": 4 }), true),
        (json!({ "kind": "adakv", "budget": 20, "window": 4 }), true),
        (json!({ "kind": "knorm", "budget": 20 }), true),
        (json!({ "kind": "keydiff", "budget": 20 }), true),
        (json!({ "kind": "random", "budget": 20 }), true),
        (json!({ "kind": "firstlast", "budget": 20 }), true),
        (json!({ "kind": "h2o", "heavy": 14, "recent": 6, "decodeEvict": false }), true),
        (json!({ "kind": "h2o", "heavy": 14, "recent": 6, "decodeEvict": true }), false),
        (json!({ "kind": "tova", "budget": 20 }), false),
        (json!({ "kind": "sinkwindow", "sink": 4, "recent": 16 }), false),
        (json!({ "kind": "anllm", "anchors": [3] }), false),
    ];
    all.to_vec()
}

/// Ways to choose tokens; the penalty looks back beyond the start of an answer.
fn samplings() -> [Sampling; 4] {
    let greedy = Sampling::default();
    let drawn = Sampling { temperature: 1.5, seed: Some(11), ..greedy };
    [
        greedy,
        Sampling { repetition_penalty: 1.4, ..greedy },
        drawn,
        Sampling { top_k: Some(30.0), top_p: 0.9, min_p: 0.01, repetition_penalty: 1.2, ..drawn },
    ]
}

#[test]
fn steps_ahead_decode_what_ordinary_steps_decode() {
    let model = model(true);
    for (policy, steady) in policies() {
        for (count, sampling) in [1, 17, 18, 45].into_iter().zip(samplings().into_iter().cycle()) {
            let [got, want] = [true, false].map(|willing| decode(&model, &policy, sampling, count, willing));
            // The first token is the prompt's; what is too few to record goes step by step.
            let ahead = if steady && count > LEAST { count - 1 } else { 0 };
            assert_eq!(got, Told { ahead, ..want }, "{policy} {count}");
        }
    }
}

#[test]
fn no_policy_is_forgotten() {
    let mut tested: Vec<String> = policies().iter().map(|(policy, _)| policy["kind"].to_string()).collect();
    let mut all: Vec<String> = skimlm_policies::registry::kinds().iter().map(|kind| json!(kind).to_string()).collect();
    tested.sort();
    tested.dedup();
    all.sort();
    assert_eq!(tested, all);
}

#[test]
fn a_long_answer_takes_several_recordings() {
    let (model, count) = (model(true), MOST + 2 * LEAST);
    let policy = json!({ "kind": "snapkv", "budget": 20, "window": 4 });
    for sampling in samplings() {
        let [got, want] = [true, false].map(|willing| decode(&model, &policy, sampling, count, willing));
        assert_eq!(got, Told { ahead: count - 1, ..want });
        assert_eq!(got.next_position as usize, 40 + count - 1);
    }
}

#[test]
fn what_cannot_be_ahead_goes_on_step_by_step_and_says_so() {
    let policy = json!({ "kind": "full" });
    for sampling in samplings() {
        let got = decode(&model(false), &policy, sampling, 40, true);
        let want = decode(&model(true), &policy, sampling, 40, false);
        assert_eq!(got, Told { warnings: vec!["W_NOT_AHEAD"], ..want });
    }
}
