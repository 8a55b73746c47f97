use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use skimlm_core::Result;

use super::{Folder, files};
use crate::families::Ids;

/// What the files beside the weights say about text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// The `tokenizer.json`, if there is one.
    pub tokenizer: Option<PathBuf>,
    /// The Jinja template for chats, of a file of its own or of `tokenizer_config.json`.
    pub chat_template: Option<String>,
    /// The token that texts begin with.
    pub bos: Option<u32>,
    /// Whether raw text begins with it; none: not stated.
    pub add_bos: Option<bool>,
    /// The tokens that end an answer, the one that templates write first.
    pub ends: Vec<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Generation {
    eos_token_id: Option<Ids>,
    bos_token_id: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    add_bos_token: Option<bool>,
    chat_template: Option<Template>,
    added_tokens_decoder: BTreeMap<String, Added>,
}

/// A special token is its text, or an object around it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Object { content: String },
}

#[derive(Deserialize)]
struct Added {
    content: String,
}

/// One template, or several by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Template {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

/// As much of a `tokenizer.json` as tells the ids of its special tokens.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerJson {
    added_tokens: Vec<Numbered>,
}

#[derive(Deserialize)]
struct Numbered {
    id: u32,
    content: String,
}

impl Folder {
    /// Reads the files beside the weights. One that is not there says nothing; one that cannot be read
    /// is `ERR_MODEL_CORRUPT`.
    pub fn words(&self) -> Result<Words> {
        let folder = &self.path;
        let stated = files::json::<TokenizerConfig>(folder, "tokenizer_config.json")?;
        let has_config = stated.is_some();
        let TokenizerConfig { bos_token, eos_token, add_bos_token, chat_template, added_tokens_decoder } =
            stated.unwrap_or_default();
        let generation: Generation = files::json(folder, "generation_config.json")?.unwrap_or_default();
        let mut ids: BTreeMap<String, u32> = BTreeMap::new();
        for (id, Added { content }) in added_tokens_decoder {
            ids.extend(id.parse().ok().map(|id| (content, id)));
        }
        let texts = [&bos_token, &eos_token].into_iter().flatten().map(Token::text);
        // New files leave the list of special tokens to tokenizer.json.
        if texts.clone().any(|text| !ids.contains_key(text)) {
            let all: TokenizerJson = files::json(folder, "tokenizer.json")?.unwrap_or_default();
            ids.extend(all.added_tokens.into_iter().map(|Numbered { id, content }| (content, id)));
        }
        let id = |token: &Option<Token>| token.as_ref().and_then(|token| ids.get(token.text()).copied());
        // A tokenizer_config.json without a first token says that there is none.
        let stated_bos = generation.bos_token_id.or(self.settings.bos_token_id).filter(|_| !has_config);
        let lists = [generation.eos_token_id, self.settings.eos_token_id.clone()];
        let mut ends: Vec<u32> = Vec::new();
        for end in id(&eos_token).into_iter().chain(lists.into_iter().flatten().flat_map(Ids::list)) {
            if !ends.contains(&end) {
                ends.push(end);
            }
        }
        Ok(Words {
            tokenizer: Some(folder.join("tokenizer.json")).filter(|path| path.is_file()),
            chat_template: match files::text(folder, "chat_template.jinja")? {
                Some(template) => Some(template),
                None => chat_template.and_then(Template::default),
            },
            bos: id(&bos_token).or(stated_bos),
            add_bos: add_bos_token,
            ends,
        })
    }
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

impl Template {
    /// The one for plain chats.
    fn default(self) -> Option<String> {
        match self {
            Self::One(template) => Some(template),
            Self::Named(all) => {
                let first = all.iter().position(|named| named.name == "default").unwrap_or(0);
                all.into_iter().nth(first).map(|named| named.template)
            }
        }
    }
}
