//! The real default model against an independent f32 implementation (`data/smollm2.json`).
//!
//! Skips aloud where the file is not in the cache; `npm run pull` fetches it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::{Value, json};
use skimlm_engine::text::{Prompt, assemble};
use skimlm_engine::{Cancel, FinishReason, LoadOptions, Loaded, Outcome, Request, Session, generate, load};
use skimlm_engine::{Control, Event};
use skimlm_policies::{Context, PolicySpec};

static GOLDEN: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("data/smollm2.json")).unwrap());

fn model_file() -> Option<PathBuf> {
    let cache = std::env::var_os("SKIMLM_CACHE_DIR").map(PathBuf::from).or_else(|| {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        Some(base.or_else(|| Some(std::env::home_dir()?.join(".cache")))?.join("skimlm"))
    });
    let file = std::env::var_os("SKIMLM_TEST_MODEL").map(PathBuf::from);
    let file = file.or_else(|| Some(cache?.join("SmolLM2-135M-Instruct.Q4_1.gguf")))?;
    file.exists().then_some(file)
}

fn loaded(test: &str, dtype: &str) -> Option<Loaded> {
    let Some(file) = model_file() else {
        println!("skipped: {test} needs SmolLM2-135M-Instruct.Q4_1.gguf in the cache");
        return None;
    };
    let options = LoadOptions { dtype: Some(dtype.into()), ..LoadOptions::default() };
    Some(load(&file, &options, &mut |_, _| Ok(())).unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

/// The golden case as a chat: the text is what the tokens of its prompt say.
fn chat(loaded: &Loaded) -> Prompt {
    let text = loaded.tokenizer.decode(&ids(&GOLDEN["prompt_ids"]), false).unwrap();
    let user = text.split_once("<|im_start|>user\n").unwrap().1.split_once("<|im_end|>").unwrap().0;
    serde_json::from_value(json!([{ "role": "user", "content": user }])).unwrap()
}

#[test]
fn a_chat_becomes_the_golden_tokens() {
    let Some(loaded) = loaded("a_chat_becomes_the_golden_tokens", "auto") else { return };
    let prompt = assemble(&chat(&loaded), &[], &loaded.tokenizer, loaded.template.as_deref()).unwrap();
    assert_eq!(prompt.rows.tokens, ids(&GOLDEN["prompt_ids"]));
    for case in GOLDEN["tokenizer"].as_array().unwrap() {
        assert_eq!(loaded.tokenizer.encode(case["text"].as_str().unwrap(), true).unwrap(), ids(&case["ids"]));
    }
}

/// Prefills the golden prompt and decodes greedily without stopping at end tokens.
fn greedy(loaded: &Loaded, policy: &PolicySpec, steps: usize) -> (Vec<u32>, Vec<f32>, Vec<u32>) {
    let context = Context { shape: loaded.model.shape(), default_layer: 15, forced: None };
    let mut session = Session::new(&*loaded.model, policy.build(&context).unwrap(), loaded.dtype).unwrap();
    let prompt = assemble(&chat(loaded), &[], &loaded.tokenizer, loaded.template.as_deref()).unwrap();
    let cancel = Cancel::default();
    let mut control = Control { cancel: &cancel, progress: &mut |_| {}, chunk: 256, headroom: steps };
    let first = session.prefill(prompt.rows, &mut control).unwrap();
    let kept = session.report().map(|r| r.indices).unwrap_or_default();
    let mut logits = first.clone();
    let mut out = Vec::new();
    for _ in 0..steps {
        let id = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
        out.push(id);
        logits = session.step(id, &mut control).unwrap();
    }
    (kept, first, out)
}

fn check_logits(logits: &[f32], golden: &Value) {
    let near = |got: f32, want: &Value, what: &str| {
        let want = want.as_f64().unwrap() as f32;
        assert!((got - want).abs() < 2e-2, "{what}: got {got}, want {want}");
    };
    for (id, want) in ids(&golden["top_ids"]).iter().zip(golden["top_logits"].as_array().unwrap()) {
        near(logits[*id as usize], want, &format!("logit of token {id}"));
    }
    for (id, want) in golden["first8"].as_array().unwrap().iter().enumerate() {
        near(logits[id], want, &format!("logit of token {id}"));
    }
}

fn check(case: &str, policy: &PolicySpec, dtype: &str) {
    let Some(loaded) = loaded(&format!("{case} in {dtype}"), dtype) else { return };
    let golden = &GOLDEN[case];
    let want = ids(&golden["greedy_ids"]);
    let (kept, logits, got) = greedy(&loaded, policy, want.len());
    if let Some(indices) = golden.get("indices") {
        let want: HashSet<u32> = ids(indices).into_iter().collect();
        let same = kept.iter().filter(|i| want.contains(i)).count();
        assert!(same as f64 >= 0.99 * want.len() as f64, "{same} of {} kept tokens agree", want.len());
    }
    check_logits(&logits, golden);
    assert_eq!(got, want, "greedy tokens of {case} in {dtype}");
}

fn paper(layer: usize, budget: usize) -> PolicySpec {
    let mut policy = PolicySpec::preset("gemfilter-paper").unwrap().to_json();
    policy["layer"] = layer.into();
    policy["budget"] = budget.into();
    PolicySpec::parse(&policy).unwrap()
}

#[test]
fn full_agrees_with_the_reference() {
    check("full", &PolicySpec::default(), "f32");
    check("full", &PolicySpec::default(), "auto");
}

#[test]
fn gemfilter_agrees_with_the_reference() {
    check("gemfilter_paper_r12_k128", &paper(12, 128), "f32");
    check("gemfilter_paper_r12_k128", &paper(12, 128), "auto");
    check("gemfilter_paper_r15_k128", &paper(15, 128), "auto");
}

fn answer(loaded: &Loaded, policy: Value) -> (Outcome, Vec<Event>) {
    let mut request = Request::new(chat(loaded));
    request.policy = PolicySpec::parse(&policy).unwrap();
    request.max_new_tokens = 24;
    let mut events = Vec::new();
    let outcome = generate(loaded, &request, &Cancel::default(), Default::default(), &mut |e| events.push(e)).unwrap();
    (outcome, events)
}

#[test]
fn the_default_selection_answers_with_a_fifth_of_the_tokens() {
    let Some(loaded) = loaded("the_default_selection_answers_with_a_fifth_of_the_tokens", "auto") else { return };
    let (full, _) = answer(&loaded, json!({ "kind": "full" }));
    assert!(full.text.contains("7391"), "{}", full.text);
    assert_eq!(full.finish_reason, FinishReason::Stop);
    let (skimmed, events) = answer(&loaded, json!({ "kind": "gemfilter", "budget": 130 }));
    assert!(skimmed.text.contains("7391"), "{}", skimmed.text);
    assert_eq!(skimmed.usage.kept_tokens, 130);
    let streamed: String = events
        .iter()
        .filter_map(|e| if let Event::Text(chunk) = e { Some(chunk.text.as_str()) } else { None })
        .collect();
    assert_eq!(streamed, skimmed.text);
    let Some(Event::Selection(selection)) = events.iter().find(|e| matches!(e, Event::Selection(_))) else {
        panic!("no selection among the events");
    };
    assert_eq!((selection.layer, selection.indices.len(), selection.prompt_tokens), (15, 130, 660));
}
