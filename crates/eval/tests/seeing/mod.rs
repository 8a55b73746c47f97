//! A model that sees by construction, made from the words of the tasks.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use skimlm_engine::{LoadOptions, Loaded, load};
use skimlm_eval::{Haystack, Recipe, Split, task};
use skimlm_kernels::linear::BlockType;
use skimlm_models::weights::gguf::write::{Meta, TensorData, Tiny, Vocabulary, write_gguf};
use skimlm_models::weights::random::Sizes;
use skimlm_policies::Profile;

/// Layer and head that see.
pub(crate) const EYE: (usize, usize) = (1, 1);

const LAYERS: usize = 6;
const HEADS: usize = 2;
const DIM: usize = 64;

/// The model, its text, and the folder that both are in.
pub(crate) struct Seeing {
    folder: tempfile::TempDir,
    pub(crate) book: PathBuf,
    pub(crate) loaded: Loaded,
}

impl Seeing {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let book = folder.path().join("book.txt");
        std::fs::write(&book, text()).unwrap();
        let model = folder.path().join("seeing.gguf");
        write(&model);
        let loaded = load(&model, &LoadOptions::default(), &mut |_, _| Ok(())).unwrap();
        Self { folder, book, loaded }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Loads the model again with a profile.
    pub(crate) fn take(&mut self, profile: &Profile) {
        let path = self.folder().join("profile.json");
        std::fs::write(&path, serde_json::to_string(profile).unwrap()).unwrap();
        let options = LoadOptions { profile: Some(path), ..LoadOptions::default() };
        self.loaded = load(&self.folder().join("seeing.gguf"), &options, &mut |_, _| Ok(())).unwrap();
    }
}

/// Sentences that share no rare word with any fact.
fn text() -> String {
    let mut text = String::new();
    for i in 0..900usize {
        let word = |n: usize| WORDS[n % WORDS.len()];
        let (one, two, three) = (word(i), word(i / 7 + 3), word(i / 3 + 11));
        write!(text, "A {one} came by and the {two} went on with some {three} until it was late. ").unwrap();
    }
    text
}

const WORDS: [&str; 16] = [
    "cloud", "wagon", "pebble", "stream", "feather", "candle", "meadow", "ladder", "thunder", "basket", "morning",
    "shadow", "lantern", "window", "carpet", "whistle",
];

/// The words of the text and of every question and fact that the tests may ask, each as one token.
fn words() -> BTreeSet<String> {
    let text = text();
    let haystack = Haystack::new(&text).unwrap();
    let mut words: BTreeSet<String> = BTreeSet::new();
    let mut add = |text: &str| {
        let pieces = text.split(|c: char| !c.is_alphabetic()).filter(|piece| !piece.is_empty());
        words.extend(pieces.map(str::to_owned));
    };
    add(&text);
    for split in [Split::Calibration, Split::Evaluation] {
        for name in ["needle", "paraphrase", "multikey", "multivalue", "multiquery", "twohop"] {
            for seed in 0..40 {
                let recipe = Recipe { tokens: 128, seed, depth: 0.5, split };
                let count = |text: &str| text.split_whitespace().count();
                let case = task(name).unwrap().make(&haystack, &recipe, &count).unwrap();
                add(&case.question);
                case.evidence.iter().for_each(|place| add(&case.document[place.clone()]));
            }
        }
    }
    words
}

/// [`Vocabulary::tiny`] and the words, put together letter by letter from the front.
fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::tiny();
    vocabulary.tokens.truncate(259);
    vocabulary.types.truncate(259);
    vocabulary.merges.clear();
    for word in words().iter().filter(|word| word.is_ascii()) {
        let mut left = "Ġ".to_owned();
        for letter in word.chars() {
            let joined = format!("{left}{letter}");
            if !vocabulary.tokens.contains(&joined) {
                vocabulary.merges.push(format!("{left} {letter}"));
                vocabulary.tokens.push(joined.clone());
                vocabulary.types.push(1);
            }
            left = joined;
        }
    }
    vocabulary
}

fn write(path: &Path) {
    let vocabulary = vocabulary();
    let sizes = Sizes {
        vocab: vocabulary.tokens.len(),
        hidden: DIM,
        layers: LAYERS,
        heads: HEADS,
        kv_heads: HEADS,
        head_dim: DIM,
        mlp: 64,
        // All pairs but the first stand nearly still, however far two words are apart.
        theta: 1e30,
        ..Sizes::default()
    };
    let tiny = Tiny { sizes: sizes.clone(), ..Tiny::default() };
    let mut metadata = tiny.metadata().unwrap();
    for (key, value) in &mut metadata {
        match key.as_str() {
            "tokenizer.ggml.tokens" => *value = Meta::Texts(vocabulary.tokens.clone()),
            "tokenizer.ggml.token_type" => *value = Meta::I32s(vocabulary.types.clone()),
            "tokenizer.ggml.merges" => *value = Meta::Texts(vocabulary.merges.clone()),
            _ => {}
        }
    }
    let tensors = tiny.tensors().unwrap().into_iter().map(|tensor| changed(tensor, &sizes)).collect::<Vec<_>>();
    write_gguf(path, &metadata, &tensors).unwrap();
}

/// The layers add nothing to the embedding, queries and keys of the eye are the embedding itself, and those of all
/// other heads nothing.
fn changed(tensor: TensorData, sizes: &Sizes) -> TensorData {
    let name = tensor.name.clone();
    let same = |values: &[f32], cols: usize| TensorData::new(&name, values, cols, BlockType::F32).unwrap();
    let layer = |part: &str| (0..sizes.layers).find(|layer| name == format!("blk.{layer}.{part}.weight"));
    if layer("attn_output").is_some() {
        return same(&vec![0.0; DIM * HEADS * DIM], HEADS * DIM);
    }
    if layer("ffn_down").is_some() {
        return same(&vec![0.0; DIM * sizes.mlp], sizes.mlp);
    }
    for (part, factor) in [("attn_q", 4.0), ("attn_k", 1.0)] {
        if let Some(layer) = layer(part) {
            // All other heads see every token alike: noise would look at rare words, and those are in the facts.
            let mut values = vec![0.0; HEADS * DIM * DIM];
            // The first six numbers belong to the pairs that turn.
            for row in (6..DIM).filter(|_| layer == EYE.0) {
                values[(EYE.1 * DIM + row) * DIM + row] = factor;
            }
            return same(&values, DIM);
        }
    }
    tensor
}
