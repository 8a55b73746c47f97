//! The table of policies: how a plain JSON value becomes a policy, and what is known about each.

use std::sync::Arc;

use crate::profile::Profile;
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use skimlm_core::{Code, Error, Policy, Reading, Result, Rows, Shape, read_options};

/// Every policy, one line each.
const POLICIES: &[Entry] = &[
    Entry::of::<crate::Auto>(),
    Entry::of::<crate::Full>(),
    Entry::of::<crate::GemFilter>(),
    Entry::of::<crate::PromptDistill>(),
    Entry::of::<crate::SnapKv>(),
    Entry::of::<crate::PyramidKv>(),
    Entry::of::<crate::AdaKv>(),
    Entry::of::<crate::H2o>(),
    Entry::of::<crate::Tova>(),
    Entry::of::<crate::Knorm>(),
    Entry::of::<crate::KeyDiff>(),
    Entry::of::<crate::SinkWindow>(),
    Entry::of::<crate::AnLlm>(),
    Entry::of::<crate::Random>(),
    Entry::of::<crate::FirstLast>(),
];

/// What is said about a policy in the documentation.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct About {
    /// What it does, in one sentence.
    pub idea: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// When to use it.
    pub good: &'static str,
    /// When not to.
    pub bad: &'static str,
    /// What it costs.
    pub cost: &'static str,
}

/// What a policy is told beside its options when it is built.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The model.
    pub shape: &'a Shape,
    /// The filter layer to use where the options name none.
    pub default_layer: usize,
    /// A selection to replay: prompt indices, ascending.
    pub forced: Option<&'a [u32]>,
    /// The tokens that end a sentence or a line, ascending. Asked for by those who need them.
    pub sentence_ends: &'a dyn Fn() -> Arc<[u32]>,
    /// What calibration has found out about the model.
    pub profile: Option<&'a Arc<Profile>>,
    /// The token ids that [`PolicySpec::token_rule`] means on this model; empty where there is no rule.
    pub tokens: &'a [u32],
}

impl<'a> Context<'a> {
    /// A model and nothing else: no forced selection, no sentence ends, no profile.
    pub fn new(shape: &'a Shape, default_layer: usize) -> Self {
        Self { shape, default_layer, forced: None, sentence_ends: &|| Arc::from([]), profile: None, tokens: &[] }
    }
}

/// The option that names tokens by a rule, and the rule.
pub type TokenRule = (&'static str, String);

/// The options of a policy. Defaults are the recommended ones; [`Method::PRESETS`] are the published.
pub trait Method: Serialize + DeserializeOwned + JsonSchema + Default + Sized {
    /// The name in `{ kind }`.
    const KIND: &'static str;
    /// Documentation.
    const ABOUT: About;
    /// Whether a forced selection can be replayed through it.
    const REPLAYS: bool = false;
    /// Published settings: name and options as JSON.
    const PRESETS: &'static [(&'static str, &'static str)] = &[];

    /// Refuses options that cannot work on this model: `ERR_INVALID_ARG`, or `ERR_POLICY_UNSUPPORTED` where no
    /// value of theirs would.
    fn check(&self, context: &Context<'_>) -> Result<()>;

    /// The option that names tokens by a rule, and the rule. Whoever builds the policy looks the tokens up
    /// and hands them over as [`Context::tokens`]: text never reaches a policy.
    fn token_rule(&self) -> Option<(&'static str, &str)> {
        None
    }

    /// The policy of one session. `check` has passed.
    fn build(self, context: &Context<'_>) -> Box<dyn Policy>;

    /// How a prompt of `tokens` tokens is read, for the estimate of its memory. Default: whole.
    fn reading(&self, context: &Context<'_>, tokens: usize) -> Reading {
        let _ = (context, tokens);
        Reading::Whole
    }

    /// The same of a prompt that is there: its roles may show more than its length. Default: what its length shows.
    fn reading_of(&self, context: &Context<'_>, rows: &Rows) -> Reading {
        self.reading(context, rows.len())
    }
}

/// A policy chosen by name, its options checked for form.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySpec {
    kind: &'static str,
    options: Value,
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self { kind: crate::Auto::KIND, options: Value::Object(Map::new()) }
    }
}

impl PolicySpec {
    /// Reads `{ "kind": ..., option: value, ... }`. Unknown kinds and options answer with the known ones.
    pub fn parse(value: &Value) -> Result<Self> {
        let Value::Object(map) = value else {
            return Err(Error::invalid_option("policy", value.clone(), "an object with a `kind`"));
        };
        let mut options = map.clone();
        let kind = options.remove("kind").unwrap_or(Value::Null);
        let Some(entry) = kind.as_str().and_then(find) else {
            return Err(Error::invalid_option("policy.kind", kind, format!("one of {}", kinds().join(", "))));
        };
        let options = Value::Object(options);
        (entry.check_form)(&options)?;
        Ok(Self { kind: entry.kind, options })
    }

    /// A published setting by name.
    pub fn preset(name: &str) -> Result<Self> {
        let found = POLICIES.iter().find_map(|e| e.presets.iter().find(|(n, _)| *n == name).map(|(_, json)| (e, json)));
        match found {
            Some((entry, json)) => {
                let options = serde_json::from_str(json)
                    .map_err(|e| Error::new(Code::Internal, format!("preset {name}: {e}")))?;
                (entry.check_form)(&options)?;
                Ok(Self { kind: entry.kind, options })
            }
            None => {
                let known: Vec<_> = POLICIES.iter().flat_map(|e| e.presets).map(|(n, _)| *n).collect();
                Err(Error::invalid_option("preset", name, format!("one of {}", known.join(", "))))
            }
        }
    }

    /// The policy's name.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// `{ kind, ...options }` as it was given.
    pub fn to_json(&self) -> Value {
        let mut all = Map::from_iter([("kind".to_owned(), Value::from(self.kind))]);
        if let Value::Object(options) = &self.options {
            all.extend(options.clone());
        }
        Value::Object(all)
    }

    /// Refuses options that cannot work on this model, and a forced selection that cannot be replayed:
    /// `ERR_INVALID_ARG`. `ERR_POLICY_UNSUPPORTED` if a layer is to choose that does not see the whole
    /// prompt.
    pub fn check(&self, context: &Context<'_>) -> Result<()> {
        let entry = self.entry()?;
        if context.forced.is_some() && !entry.replays {
            let able: Vec<_> = POLICIES.iter().filter(|e| e.replays).map(|e| e.kind).collect();
            return Err(Error::invalid_option(
                "forceIndices",
                self.kind,
                format!("used with one of {}", able.join(", ")),
            ));
        }
        if let Some(pair) = context.forced.unwrap_or_default().windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(Error::invalid_option("forceIndices", pair[1], "ascending, each index once"));
        }
        (entry.check)(&self.options, context)
    }

    /// The option that names tokens by a rule, and the rule ([`Method::token_rule`]).
    pub fn token_rule(&self) -> Result<Option<TokenRule>> {
        (self.entry()?.token_rule)(&self.options)
    }

    /// A policy for one session; what [`Self::check`] refuses is refused here, too.
    pub fn build(&self, context: &Context<'_>) -> Result<Box<dyn Policy>> {
        self.check(context)?;
        (self.entry()?.build)(&self.options, context)
    }

    /// How a prompt of `tokens` tokens is read, for the estimate of its memory.
    pub fn reading(&self, context: &Context<'_>, tokens: usize) -> Result<Reading> {
        (self.entry()?.reading)(&self.options, context, tokens)
    }

    /// The same of a prompt that is there.
    pub fn reading_of(&self, context: &Context<'_>, rows: &Rows) -> Result<Reading> {
        (self.entry()?.reading_of)(&self.options, context, rows)
    }

    fn entry(&self) -> Result<&'static Entry> {
        find(self.kind).ok_or_else(|| Error::invalid_option("policy.kind", self.kind, kinds().join(", ")))
    }
}

/// The names of the policies that can work on a model.
pub fn supported(context: &Context<'_>) -> Vec<&'static str> {
    let works = |entry: &&Entry| {
        let spec = PolicySpec { kind: entry.kind, options: (entry.defaults)().unwrap_or_default() };
        !spec.check(context).is_err_and(|error| error.code == Code::PolicyUnsupported)
    };
    POLICIES.iter().filter(works).map(|entry| entry.kind).collect()
}

/// The names of all policies.
pub fn kinds() -> Vec<&'static str> {
    POLICIES.iter().map(|e| e.kind).collect()
}

/// One policy as the generated files describe it.
#[derive(Debug, Serialize)]
pub struct Description {
    /// The name in `{ kind }`.
    pub kind: &'static str,
    /// Documentation.
    pub about: About,
    /// Whether a forced selection can be replayed through it.
    pub replays: bool,
    /// Options with their defaults.
    pub defaults: Value,
    /// What options there are, as JSON Schema. Shared parts are under `$defs`.
    pub options: Schema,
    /// Published settings: name and policy.
    pub presets: Vec<(&'static str, Value)>,
}

/// All policies, for generated types and documentation.
pub fn describe() -> Result<Vec<Description>> {
    let one = |e: &'static Entry| {
        let presets = e
            .presets
            .iter()
            .map(|(name, _)| Ok((*name, PolicySpec::preset(name)?.to_json())))
            .collect::<Result<_>>()?;
        Ok(Description {
            kind: e.kind,
            about: e.about,
            replays: e.replays,
            defaults: (e.defaults)()?,
            options: (e.options)(),
            presets,
        })
    };
    POLICIES.iter().map(one).collect()
}

struct Entry {
    kind: &'static str,
    about: About,
    replays: bool,
    presets: &'static [(&'static str, &'static str)],
    defaults: fn() -> Result<Value>,
    options: fn() -> Schema,
    check_form: fn(&Value) -> Result<()>,
    check: fn(&Value, &Context<'_>) -> Result<()>,
    token_rule: fn(&Value) -> Result<Option<TokenRule>>,
    build: fn(&Value, &Context<'_>) -> Result<Box<dyn Policy>>,
    reading: fn(&Value, &Context<'_>, usize) -> Result<Reading>,
    reading_of: fn(&Value, &Context<'_>, &Rows) -> Result<Reading>,
}

impl Entry {
    const fn of<M: Method>() -> Self {
        Self {
            kind: M::KIND,
            about: M::ABOUT,
            replays: M::REPLAYS,
            presets: M::PRESETS,
            defaults: || {
                serde_json::to_value(M::default()).map_err(|e| Error::new(Code::Internal, format!("{}: {e}", M::KIND)))
            },
            options: || schema_for!(M),
            check_form: |options| read::<M>(options).map(|_| ()),
            check: |options, context| read::<M>(options)?.check(context),
            token_rule: |options| Ok(read::<M>(options)?.token_rule().map(|(option, rule)| (option, rule.to_owned()))),
            build: |options, context| Ok(read::<M>(options)?.build(context)),
            reading: |options, context, tokens| Ok(read::<M>(options)?.reading(context, tokens)),
            reading_of: |options, context, rows| Ok(read::<M>(options)?.reading_of(context, rows)),
        }
    }
}

fn find(kind: &str) -> Option<&'static Entry> {
    POLICIES.iter().find(|e| e.kind == kind)
}

fn read<M: Method>(options: &Value) -> Result<M> {
    read_options(options, "policy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unknown_kind_answers_with_the_known_ones() {
        let error = PolicySpec::parse(&json!({ "kind": "gemfliter" })).unwrap_err();
        assert_eq!(error.code.as_str(), "ERR_INVALID_ARG");
        assert!(error.message.contains("gemfilter"), "{error}");
    }

    #[test]
    fn an_unknown_option_answers_with_the_known_ones() {
        let error = PolicySpec::parse(&json!({ "kind": "gemfilter", "bugdet": 4 })).unwrap_err();
        assert!(error.message.contains("bugdet") && error.message.contains("budget"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_path() {
        let error =
            PolicySpec::parse(&json!({ "kind": "gemfilter", "score": { "pool": { "kind": "avg", "width": 4 } } }))
                .unwrap_err();
        assert_eq!(error.code.as_str(), "ERR_INVALID_ARG");
        assert!(error.details["option"].as_str().is_some_and(|o| o.starts_with("policy.score.pool")), "{error:?}");
    }

    #[test]
    fn every_preset_reads_and_every_default_reads_back() {
        for description in describe().unwrap() {
            let mut policy = description.defaults.clone();
            policy["kind"] = description.kind.into();
            PolicySpec::parse(&policy).unwrap();
            for (name, _) in &description.presets {
                assert_eq!(PolicySpec::preset(name).unwrap().kind(), description.kind);
            }
        }
    }
}
