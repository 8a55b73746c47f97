//! A model to go on from: its weights, its tokenizer, and the files that a checkpoint made from it needs.

use std::path::Path;

use serde_json::json;
use skimlm_core::{Code, Error, Result};
use skimlm_engine::text::{GgufVocab, named_tokens};
use skimlm_engine::{LoadOptions, Loaded, files, load};
use skimlm_models::Source;
use skimlm_policies::PolicySpec;

use crate::checkpoint::{Files, config_json};
use crate::net::Net;

/// Files of a folder that belong to a model beside its weights.
const BESIDE: [&str; 5] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// An opened model.
pub struct Origin {
    /// Tokenizer and settings.
    pub loaded: Loaded,
    source: Source,
}

impl Origin {
    /// Opens a GGUF file or a safetensors folder.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { loaded: load(path, &LoadOptions::default(), &mut |_, _| Ok(()))?, source: Source::open(path)? })
    }

    /// Its weights, dequantised.
    pub fn net(&self, trained: bool) -> Result<Net> {
        Net::from_weights(&*self.source.weights()?, trained)
    }

    /// The ids of the anchors that a rule means ([`named_tokens`]).
    pub fn anchors(&self, rule: &str) -> Result<Vec<u32>> {
        named_tokens(&PolicySpec::parse(&json!({ "kind": "anllm", "anchors": rule }))?, &self.loaded.tokenizer)
    }

    /// The files beside the weights of a checkpoint.
    pub fn files(&self, net: &Net) -> Result<Files> {
        match &self.source {
            Source::Folder(folder) => BESIDE
                .iter()
                .filter(|name| folder.path().join(name).is_file())
                .map(|name| Ok(((*name).to_owned(), files::read(&folder.path().join(name))?)))
                .collect(),
            Source::Gguf(gguf) => {
                let vocab = GgufVocab::read(gguf)?;
                let tokenizer = &self.loaded.tokenizer;
                let text = |id: Option<u32>| id.map(|id| tokenizer.token_text(id));
                let settings = json!({
                    "bos_token": text(vocab.bos), "eos_token": text(vocab.eos), "add_bos_token": tokenizer.leading_bos().is_some(),
                    "chat_template": self.source.chat_template()?,
                });
                Ok(vec![
                    ("config.json".into(), config_json(net.config(), vocab.bos, tokenizer.end_tokens())?),
                    ("tokenizer.json".into(), vocab.to_json()?.to_string().into_bytes()),
                    ("tokenizer_config.json".into(), settings.to_string().into_bytes()),
                ])
            }
        }
    }

    /// The tokens of plain text files, one after the other. `ERR_INVALID_ARG` if a file is no text,
    /// `ERR_STORAGE` if it cannot be read.
    pub fn tokens(&self, paths: &[impl AsRef<Path>]) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        for path in paths.iter().map(AsRef::as_ref) {
            let text = String::from_utf8(files::read(path)?).map_err(|e| {
                Error::new(
                    Code::InvalidArg,
                    format!(
                        "{} is not UTF-8 at byte {}; give plain text.",
                        path.display(),
                        e.utf8_error().valid_up_to()
                    ),
                )
                .with("option", "text")
                .with("value", path.display().to_string())
            })?;
            tokens.extend(self.loaded.tokenizer.encode(&text, false)?);
        }
        Ok(tokens)
    }
}
