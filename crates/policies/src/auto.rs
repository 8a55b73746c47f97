//! The default: exact where selecting does not pay or cannot be trusted, else the cheapest way that
//! calibration has shown to find the evidence.
//!
//! A short prompt, a prompt without a question and a model without a profile are read whole. Otherwise the
//! profile's cheapest setting whose recall holds serves, of those that go back to the whole prompt by themselves
//! where the question finds nothing in particular (`fallbackBelow`), if the profile has any.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{
    Error, Evidence, KvCache, Pass, Policy, Reading, Report, Result, Role, Rows, Seen, Shape, Step, Visibility,
};

use crate::profile::{Profile, Setting};
use crate::registry::{About, Context, Method, PolicySpec};

/// Options of the automatic choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Auto {
    /// Evidence recall that a setting must have shown in calibration.
    #[schemars(range(min = 0, max = 1))]
    pub recall: f64,
}

impl Default for Auto {
    fn default() -> Self {
        Self { recall: 0.95 }
    }
}

impl Method for Auto {
    const KIND: &'static str = "auto";
    const ABOUT: About = About {
        idea: "Reads short prompts whole and long ones by the cheapest setting that calibration has shown to find the evidence.",
        paper: "This project; the settings are GemFilter's with calibrated heads and stages",
        good: "When in doubt: questions about facts in long text are answered early, everything else exactly.",
        bad: "A model without a profile is always read whole: calibrate it first.",
        cost: "That of the setting that served; where a question finds nothing in particular, a filter pass on top of full attention.",
    };

    fn check(&self, _: &Context<'_>) -> Result<()> {
        if (0.0..=1.0).contains(&self.recall) {
            return Ok(());
        }
        Err(Error::invalid_option("policy.recall", self.recall, "a share from 0 to 1"))
    }

    fn build(self, context: &Context<'_>) -> Box<dyn Policy> {
        let setting = context.profile.and_then(|profile| {
            let (setting, spec) = self.setting(profile)?;
            let policy = spec.build(context).ok()?;
            let about = format!(
                "profile {}, setting {} (recall {:.2} in calibration)",
                profile.name, setting.name, setting.recall.mean
            );
            Some(Serving { about, json: setting.policy.clone(), policy })
        });
        Box::new(Choice {
            spec: self,
            profile: context.profile.cloned(),
            setting,
            selects: false,
            exact: String::new(),
            tokens: 0,
        })
    }

    // `reading` is the default: only a prompt's roles show whether the setting serves.

    fn reading_of(&self, context: &Context<'_>, rows: &Rows) -> Reading {
        let setting = context.profile.and_then(|profile| self.setting(profile));
        match setting.filter(|_| self.why_exact(context.profile, true, rows).is_none()) {
            Some((_, spec)) => spec.reading_of(context, rows).unwrap_or(Reading::Whole),
            None => Reading::Whole,
        }
    }
}

impl Auto {
    /// The setting that serves where selecting pays.
    fn setting<'a>(&self, profile: &'a Profile) -> Option<(&'a Setting, PolicySpec)> {
        let setting = profile.setting(self.recall)?;
        Some((setting, PolicySpec::parse(&setting.policy).ok()?))
    }

    /// Why the whole prompt is read; none: the setting serves, if there is one.
    fn why_exact(&self, profile: Option<&Arc<Profile>>, setting: bool, rows: &Rows) -> Option<String> {
        let n = rows.len();
        let has = |role: Role| rows.roles.contains(&role);
        let Some(profile) = profile else {
            return Some("the model has no profile (`skimlm calibrate` makes one)".into());
        };
        if n < profile.exact_below {
            return Some(format!("{n} tokens are fewer than {}, where selecting begins to pay", profile.exact_below));
        }
        if !has(Role::Question) || !has(Role::Document) {
            return Some("the prompt has no question about a document".into());
        }
        if !setting {
            return Some(format!("no setting of profile {} has a recall of {}", profile.name, self.recall));
        }
        None
    }
}

/// The policy that serves where selecting pays.
struct Serving {
    about: String,
    json: serde_json::Value,
    policy: Box<dyn Policy>,
}

/// One prompt's decision.
struct Choice {
    spec: Auto,
    profile: Option<Arc<Profile>>,
    setting: Option<Serving>,
    /// Whether the setting serves the last prompt.
    selects: bool,
    /// Why not, if it does not.
    exact: String,
    /// Tokens of the last prompt.
    tokens: usize,
}

impl Choice {
    fn serving(&self) -> Option<&Serving> {
        self.setting.as_ref().filter(|_| self.selects)
    }
}

impl Policy for Choice {
    fn begin(&mut self, prompt: Pass, shape: &Shape) -> Result<Pass> {
        self.tokens = prompt.rows.len();
        let exact = self.spec.why_exact(self.profile.as_ref(), self.setting.is_some(), &prompt.rows);
        self.selects = exact.is_none();
        self.exact = exact.unwrap_or_default();
        match self.setting.as_mut().filter(|_| self.selects) {
            Some(serving) => serving.policy.begin(prompt, shape),
            None => Ok(prompt),
        }
    }

    fn visibility(&self) -> Visibility {
        self.serving().map_or(Visibility::Causal, |serving| serving.policy.visibility())
    }

    fn evidence(&self, layer: usize, pass: &Pass) -> Evidence {
        self.serving().map_or(Evidence::None, |serving| serving.policy.evidence(layer, pass))
    }

    fn at_layer(&mut self, seen: Seen<'_>) -> Result<Step> {
        match self.setting.as_mut().filter(|_| self.selects) {
            Some(serving) => serving.policy.at_layer(seen),
            None => Ok(Step::go_on()),
        }
    }

    fn is_steady(&self) -> bool {
        self.serving().is_none_or(|serving| serving.policy.is_steady())
    }

    fn next_position(&self, cache: &KvCache) -> Option<u32> {
        self.serving()?.policy.next_position(cache)
    }

    fn after_pass(&mut self, pass: &Pass, cache: &mut KvCache) -> Result<Option<Pass>> {
        match self.setting.as_mut().filter(|_| self.selects) {
            Some(serving) => serving.policy.after_pass(pass, cache),
            None => Ok(None),
        }
    }

    fn report(&self) -> Option<Report> {
        let Some(serving) = self.serving() else {
            return Some(Report {
                budget: self.tokens,
                indices: (0..self.tokens as u32).collect(),
                scores: vec![0.0; self.tokens],
                reason: format!("everything is read: {}", self.exact),
                served: Some(serde_json::json!({ "kind": crate::Full::KIND })),
                ..Report::default()
            });
        };
        let report = serving.policy.report()?;
        let reason = format!("{}: {}", serving.about, report.reason);
        Some(Report { reason, served: Some(serving.json.clone()), ..report })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skimlm_core::{LayerShape, Stage};

    use super::*;
    use crate::profile::{Calibration, Measured, ModelKey};
    use crate::testing;

    fn shape() -> Shape {
        testing::shape(vec![LayerShape::default(); 4])
    }

    fn profile() -> Arc<Profile> {
        let setting = |name: &str, budget: usize, recall: f64, cost: f64| Setting {
            name: name.into(),
            policy: json!({ "kind": "gemfilter", "budget": budget }),
            recall: Measured { mean: recall, low: recall, high: recall, cases: 1 },
            cost,
        };
        Arc::new(Profile {
            name: "tiny".into(),
            model: ModelKey::of(&shape(), ""),
            exact_below: 10,
            settings: vec![setting("poor", 2, 0.5, 0.1), setting("good", 6, 0.99, 0.4), setting("better", 8, 1.0, 0.6)],
            calibration: Calibration { tasks: vec![], lengths: vec![], cases: 1, seed: 0, version: String::new() },
        })
    }

    fn begun(recall: f64, profile: Option<&Arc<Profile>>, n: usize, question: bool) -> (Pass, Report) {
        let shape = shape();
        let context = Context { profile, ..Context::new(&shape, 1) };
        let mut policy = Auto { recall }.build(&context);
        let mut rows = Rows::consecutive(vec![1; n], 0, Role::Document);
        if question {
            rows.roles[n - 1] = Role::Question;
        }
        let pass = policy.begin(Pass { stage: Stage::Prefill, rows, layers: 0..4 }, &shape).unwrap();
        // Before its filter layer a serving setting has nothing to report.
        let nothing = Report { reason: "serving".into(), ..Report::default() };
        (pass, policy.report().unwrap_or(nothing))
    }

    #[test]
    fn what_does_not_pay_is_read_whole_with_the_reason() {
        let profile = profile();
        for (recall, with, n, question, why) in [
            (0.9, None, 40, true, "no profile"),
            (0.9, Some(&profile), 9, true, "fewer than 10"),
            (0.9, Some(&profile), 40, false, "no question"),
            (1.1, Some(&profile), 40, true, "has a recall of 1.1"),
        ] {
            let (pass, report) = begun(recall, with, n, question);
            assert_eq!((pass.stage, pass.rows.len()), (Stage::Prefill, n));
            assert!(report.reason.contains(why), "{} without {why}", report.reason);
            assert_eq!(report.indices.len(), n);
            assert_eq!(report.served, Some(json!({ "kind": "full" })));
        }
    }

    #[test]
    fn the_cheapest_setting_whose_recall_holds_serves() {
        let profile = profile();
        assert_eq!(profile.setting(0.4).unwrap().name, "poor");
        assert_eq!(profile.setting(0.9).unwrap().name, "good");
        assert_eq!(profile.setting(0.995).unwrap().name, "better");
        let mut knowing = (*profile).clone();
        knowing.settings[2].policy["fallbackBelow"] = json!(0.3);
        assert_eq!(knowing.setting(0.9).unwrap().name, "better", "it knows when to read everything");
        assert_eq!(knowing.setting(0.4).unwrap().name, "better");
        for n in [10, 40] {
            let (pass, report) = begun(0.9, Some(&profile), n, true);
            assert_eq!((pass.stage, report.reason.as_str()), (Stage::Filter, "serving"), "{n} tokens");
        }
        let (shape, knowing) = (shape(), Arc::new(knowing));
        let context = Context { profile: Some(&profile), ..Context::new(&shape, 1) };
        let auto = Auto { recall: 0.9 };
        for n in [9, 10, 40] {
            let mut rows = Rows::consecutive(vec![1; n], 0, Role::Document);
            assert_eq!(auto.reading(&context, n), Reading::Whole, "nobody knows yet whether there is a question");
            assert_eq!(auto.reading_of(&context, &rows), Reading::Whole, "without a question");
            rows.roles[n - 1] = Role::Question;
            let want = if n < 10 { Reading::Whole } else { Reading::Restart { kept: 6 } };
            assert_eq!(auto.reading_of(&context, &rows), want, "{n} tokens");
            let knowing = Context { profile: Some(&knowing), ..Context::new(&shape, 1) };
            assert_eq!(auto.reading_of(&knowing, &rows), Reading::Whole, "it may go back to the whole prompt");
            assert_eq!(auto.reading_of(&Context::new(&shape, 1), &rows), Reading::Whole, "without a profile");
        }
    }

    #[test]
    fn built_in_profiles_fit_their_models() {
        let smollm2 = Shape {
            hidden: 576,
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            vocab: 49152,
            max_positions: 8192,
            scale: 0.125,
            layers: vec![LayerShape::default(); 30],
        };
        let built_in = |shape: &Shape| Profile::built_in(shape, 15, "").unwrap();
        let profile = built_in(&smollm2).unwrap();
        let serving = profile.setting(Auto::default().recall).unwrap();
        assert!(serving.cost < 0.4 && serving.recall.cases >= 30, "{serving:?}");
        for setting in &profile.settings {
            PolicySpec::parse(&setting.policy).unwrap().check(&Context::new(&smollm2, 15)).unwrap();
        }
        assert_eq!(built_in(&shape()), None);
        let layers = vec![LayerShape { window: Some(512), rotary: 0 }; 30];
        assert_eq!(built_in(&Shape { layers, ..smollm2 }), None, "no layer sees the whole prompt");
    }

    #[test]
    fn settings_that_cannot_serve_are_refused() {
        for kind in ["auto", "anllm"] {
            let mut profile = (*profile()).clone();
            profile.settings[1].policy = json!({ "kind": kind });
            let error = Profile::parse(&serde_json::to_string(&profile).unwrap()).unwrap_err();
            assert_eq!(error.code.as_str(), "ERR_INVALID_ARG");
            assert!(error.message.contains(&format!("setting `good` is `{kind}`")), "{}", error.message);
        }
    }

    #[test]
    fn a_profile_reads_back_and_a_foreign_one_is_refused() {
        let json = serde_json::to_string(&*profile()).unwrap();
        assert_eq!(Profile::parse(&json).unwrap(), *profile());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &json).unwrap();
        assert_eq!(Profile::read(file.path(), &shape(), 1).unwrap(), *profile());
        let other = Shape { hidden: 16, ..shape() };
        assert_eq!(Profile::read(file.path(), &other, 1).unwrap_err().code.as_str(), "ERR_INVALID_ARG");
        for bad in ["", "{}", &json.replace("gemfilter", "auto"), &json.replace("budget", "bugdet")] {
            assert_eq!(Profile::parse(bad).unwrap_err().code.as_str(), "ERR_INVALID_ARG", "{bad}");
        }
    }
}
