//! What calibration found out about a model: which heads find evidence, how early, and how well.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skimlm_core::{Code, Error, Result, Shape};

use crate::registry::{Context, Method, PolicySpec};

/// The profiles that come along.
const BUILT_IN: &[&str] = &[include_str!("../profiles/smollm2-135m-instruct.json")];

/// Measured settings of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// What to call it.
    pub name: String,
    /// Which model it is for.
    pub model: ModelKey,
    /// Prompts of fewer tokens are read whole: selecting would cost more than it saves.
    pub exact_below: usize,
    /// Ways to select, the cheapest first.
    pub settings: Vec<Setting>,
    /// How it was measured.
    pub calibration: Calibration,
}

/// How a model is recognised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelKey {
    /// Number of layers.
    pub layers: usize,
    /// Query heads of a layer.
    pub heads: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// The fingerprint of the file it was measured on.
    pub fingerprint: String,
}

/// One way to select.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Setting {
    /// What to call it.
    pub name: String,
    /// The policy.
    pub policy: serde_json::Value,
    /// Evidence recall on cases that had no part in the choice of heads.
    pub recall: Measured,
    /// Operations of the prompt passes as a share of full attention's, on 8000 tokens, or as many as
    /// the model has positions.
    pub cost: f64,
}

/// A mean with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Over how many cases.
    pub cases: usize,
}

/// Where the numbers come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Calibration {
    /// The families of tasks.
    pub tasks: Vec<String>,
    /// Prompt lengths in tokens.
    pub lengths: Vec<usize>,
    /// Cases in all.
    pub cases: usize,
    /// The first seed.
    pub seed: u64,
    /// The version of skimlm.
    pub version: String,
}

impl Profile {
    /// Reads a profile.
    pub fn parse(json: &str) -> Result<Self> {
        let bad = |what: String| Error::new(Code::InvalidArg, format!("this is no profile: {what}. Calibrate again."));
        let profile: Self = serde_json::from_str(json).map_err(|e| bad(e.to_string()).caused_by(e))?;
        if profile.settings.is_empty() {
            return Err(bad("it has no settings".into()));
        }
        for setting in &profile.settings {
            let spec = PolicySpec::parse(&setting.policy)?;
            let why = match spec.kind() {
                crate::Auto::KIND => "`auto` itself",
                // It tags a prompt's rows, and they are tagged before it is known who serves.
                crate::AnLlm::KIND => "`anllm`, which cannot serve for `auto`",
                _ => continue,
            };
            return Err(bad(format!("setting `{}` is {why}", setting.name)));
        }
        Ok(profile)
    }

    /// Reads a profile for a model and its default filter layer. `ERR_INVALID_ARG` for one of another model, and what
    /// [`PolicySpec::check`] says of a setting that cannot work.
    pub fn read(path: &Path, shape: &Shape, default_layer: usize) -> Result<Self> {
        let name = path.display().to_string();
        let json = std::fs::read_to_string(path).map_err(|e| {
            Error::invalid_option("profile", name.clone(), format!("a file that can be read ({e})")).caused_by(e)
        })?;
        let profile = Self::parse(&json).map_err(|e| e.with("profile", name.clone()))?;
        if !profile.model.fits(shape) {
            let model = serde_json::json!(profile.model);
            return Err(Error::invalid_option("profile", name, "a profile of this model").with("model", model));
        }
        profile.check(shape, default_layer)?;
        Ok(profile)
    }

    /// The built-in profile of a model: one measured on this very file, else one of a model of the same sizes. None
    /// whose settings cannot work, as where layers of such a model see a sliding window.
    pub fn built_in(shape: &Shape, default_layer: usize, fingerprint: &str) -> Result<Option<Arc<Self>>> {
        let mut alike = None;
        for json in BUILT_IN {
            let profile = Self::parse(json)?;
            if profile.model.fits(shape) && profile.check(shape, default_layer).is_ok() {
                if profile.model.fingerprint == fingerprint {
                    return Ok(Some(Arc::new(profile)));
                }
                alike.get_or_insert(profile);
            }
        }
        Ok(alike.map(Arc::new))
    }

    fn check(&self, shape: &Shape, default_layer: usize) -> Result<()> {
        let context = Context::new(shape, default_layer);
        self.settings.iter().try_for_each(|setting| PolicySpec::parse(&setting.policy)?.check(&context))
    }

    /// The cheapest setting whose recall holds, of those that know when to read everything, if there are any.
    pub fn setting(&self, recall: f64) -> Option<&Setting> {
        let cheapest = |falls_back: bool| {
            let holds = |setting: &&Setting| setting.recall.mean >= recall && (setting.falls_back() || !falls_back);
            self.settings.iter().filter(holds).min_by(|a, b| a.cost.total_cmp(&b.cost))
        };
        cheapest(true).or_else(|| cheapest(false))
    }
}

impl Setting {
    /// Whether it reads everything where a question finds nothing in particular.
    pub fn falls_back(&self) -> bool {
        self.policy.get("fallbackBelow").is_some_and(|share| !share.is_null())
    }
}

impl ModelKey {
    /// The key of a model.
    pub fn of(shape: &Shape, fingerprint: &str) -> Self {
        Self {
            layers: shape.layers.len(),
            heads: shape.heads,
            hidden: shape.hidden,
            vocab: shape.vocab,
            fingerprint: fingerprint.to_owned(),
        }
    }

    fn fits(&self, shape: &Shape) -> bool {
        (self.layers, self.heads, self.hidden, self.vocab)
            == (shape.layers.len(), shape.heads, shape.hidden, shape.vocab)
    }
}
