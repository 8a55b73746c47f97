use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Error, Evidence, Form, Heads, Queries, Result, Role, Rows};

use super::budget::whole;
use super::pool::{EdgeSpec, PoolKind, PoolSpec};

/// The surroundings that a softmax is held against: some ten sentences.
pub const CONTRAST: usize = 257;
/// Rows that ask by default.
pub const WINDOW: usize = 16;
/// Tokens whose scores are averaged by default.
pub const POOL: usize = 13;

/// Which rows ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Queries")]
pub(crate) enum QueriesSpec {
    /// The last row (the papers).
    Last,
    /// The rows of the question; the last 16 where the prompt has none.
    Question,
    /// The last rows, this many.
    Window(#[schemars(range(min = 1))] usize),
}

/// How query heads combine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "sum, mean, max, groups, or a list of { layer, head, weight? }")]
#[schemars(rename = "Heads")]
pub(crate) enum HeadsSpec {
    /// All heads of the filter layer alike.
    All(AllHeads),
    /// A weighted list, possibly of several layers.
    Listed(#[schemars(length(min = 1))] Vec<ListedHead>),
}

/// A combination of all heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AllHeads {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The mean over the query heads of each kv head, and of these the largest.
    Groups,
}

/// One head of a list.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListedHead {
    /// Layer.
    pub layer: usize,
    /// Query head.
    pub head: usize,
    /// Factor on its scores.
    #[serde(default = "one")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// What is kept as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Round {
    /// Tokens, each by itself.
    #[default]
    Token,
    /// Sentences (or lines): the best are kept whole while they fit the budget. Where none fits, tokens.
    Sentence,
    /// Runs of this many tokens; the best runs are kept whole while they fit the budget. Where none fits,
    /// tokens.
    Chunk(
        #[serde(deserialize_with = "whole")]
        #[schemars(range(min = 1))]
        usize,
    ),
}

/// A share of the choice that is spread evenly over the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    /// Equal stretches of the prompt.
    #[schemars(range(min = 1))]
    pub spans: usize,
    /// Share of the free budget that the best tokens of each stretch get before the best of all.
    #[schemars(range(min = 0, max = 1))]
    pub share: f32,
}

/// How evidence becomes one number a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Score {
    /// Who asks.
    pub queries: QueriesSpec,
    /// Softmax per head over all tokens, or raw dot products.
    pub softmax: bool,
    /// How heads combine.
    pub heads: HeadsSpec,
    /// Consecutive layers, the deciding one the last, whose largest score counts. 1 for a list of heads, which
    /// names its layers.
    #[schemars(range(min = 1))]
    pub layers: usize,
    /// Smoothing; none: as they are.
    pub pool: Option<PoolSpec>,
    /// Tokens around each, an odd number, by whose mean its smoothed score is divided: what stands out from its surroundings
    /// counts, not what is near. 0: no division; none: 257. Scores that can be negative (raw dot products, negative weights)
    /// are never divided.
    pub contrast: Option<usize>,
    /// What is kept as a whole.
    pub round: Round,
    /// What each part of the prompt gets in any case; none: nothing.
    pub quota: Option<Quota>,
}

impl Default for Score {
    /// Softmax of the last 16 queries, mean over heads, average of 13 tokens against 257 around: the published
    /// score finds a quarter of the evidence on a small model where this one finds nearly all of it.
    fn default() -> Self {
        Self {
            queries: QueriesSpec::Window(WINDOW),
            softmax: true,
            heads: HeadsSpec::All(AllHeads::Mean),
            layers: 1,
            pool: Some(PoolSpec { kind: PoolKind::Avg, width: POOL, edge: EdgeSpec::Valid }),
            contrast: None,
            round: Round::Token,
            quota: None,
        }
    }
}

impl Score {
    /// What to ask of a layer, with `scale` for raw scores; `at` is the layer that decides.
    pub(crate) fn evidence(&self, layer: usize, at: usize, rows: &Rows, scale: Option<f32>) -> Evidence {
        let heads = match &self.heads {
            HeadsSpec::All(_) if !self.layers_before(at).contains(&layer) => return Evidence::None,
            HeadsSpec::All(AllHeads::Sum) => Heads::Sum,
            HeadsSpec::All(AllHeads::Mean) => Heads::Mean,
            HeadsSpec::All(AllHeads::Max) => Heads::Max,
            HeadsSpec::All(AllHeads::Groups) => Heads::EachKv,
            HeadsSpec::Listed(list) => {
                let here: Vec<_> = list.iter().filter(|h| h.layer == layer).map(|h| (h.head, h.weight)).collect();
                if here.is_empty() && layer != at {
                    return Evidence::None;
                }
                Heads::Listed(here)
            }
        };
        let form = if self.softmax { Form::Softmax } else { Form::Raw };
        Evidence::Scores { queries: self.asking(rows), form, scale: if self.softmax { None } else { scale }, heads }
    }

    fn asking(&self, rows: &Rows) -> Queries {
        match self.queries {
            QueriesSpec::Last => Queries::Last,
            QueriesSpec::Window(width) => Queries::Window(width),
            QueriesSpec::Question => {
                let is_question = |&role: &Role| role == Role::Question;
                match (rows.roles.iter().position(is_question), rows.roles.iter().rposition(is_question)) {
                    (Some(first), Some(last)) => Queries::Rows(first..last + 1),
                    // A prompt without a recognisable question asks with its end.
                    _ => Queries::Window(WINDOW),
                }
            }
        }
    }

    /// The consecutive layers up to `at` that all heads are asked in.
    pub(crate) fn layers_before(&self, at: usize) -> std::ops::Range<usize> {
        (at + 1).saturating_sub(self.layers)..at + 1
    }

    /// Every layer whose evidence counts where `at` decides.
    pub(crate) fn layers(&self, at: usize) -> Vec<usize> {
        match &self.heads {
            HeadsSpec::All(_) => self.layers_before(at).collect(),
            HeadsSpec::Listed(list) => list.iter().map(|h| h.layer).collect(),
        }
    }

    /// Whether what several layers say is added up; else the largest counts.
    pub(crate) fn adds_up(&self) -> bool {
        matches!(self.heads, HeadsSpec::Listed(_))
    }

    /// The layers a list of heads names.
    pub(crate) fn listed_layers(&self) -> impl Iterator<Item = usize> {
        let list = match &self.heads {
            HeadsSpec::All(_) => &[][..],
            HeadsSpec::Listed(list) => list,
        };
        list.iter().map(|h| h.layer)
    }

    /// Tokens around each by whose mean its score is divided.
    pub(crate) fn contrast(&self) -> Option<usize> {
        self.contrast.or(self.is_positive().then_some(CONTRAST)).filter(|width| *width > 0)
    }

    /// Whether no score can be negative.
    fn is_positive(&self) -> bool {
        let weights_are = match &self.heads {
            HeadsSpec::All(_) => true,
            HeadsSpec::Listed(list) => list.iter().all(|h| h.weight >= 0.0),
        };
        self.softmax && weights_are
    }

    /// Refuses heads the model does not have, windows without rows and surroundings without a middle.
    pub(crate) fn check(&self, heads: usize, path: &str) -> Result<()> {
        if self.queries == QueriesSpec::Window(0) {
            return Err(Error::invalid_option(&format!("{path}.queries.window"), 0, "at least 1"));
        }
        if let Some(width) = self.contrast
            && width != 0
            && (width % 2 == 0 || !self.is_positive())
        {
            let expected = "an odd number of tokens for a softmax without negative weights, or 0";
            return Err(Error::invalid_option(&format!("{path}.contrast"), width, expected));
        }
        if let Some(quota) = self.quota
            && (quota.spans == 0 || !(0.0..=1.0).contains(&quota.share))
        {
            let expected = "at least one span and a share from 0 to 1";
            return Err(Error::invalid_option(&format!("{path}.quota"), serde_json::json!(quota), expected));
        }
        if self.layers == 0 || (self.layers > 1 && self.adds_up()) {
            let expected = "at least 1, and 1 for a list of heads";
            return Err(Error::invalid_option(&format!("{path}.layers"), self.layers, expected));
        }
        match &self.heads {
            HeadsSpec::Listed(list) if list.is_empty() => {
                Err(Error::invalid_option(&format!("{path}.heads"), Vec::<u32>::new(), "a list with at least one head"))
            }
            HeadsSpec::Listed(list) => match list.iter().find(|h| h.head >= heads || !h.weight.is_finite()) {
                Some(bad) => Err(Error::invalid_option(
                    &format!("{path}.heads"),
                    serde_json::json!(bad),
                    format!("heads 0 to {} with finite weights", heads.saturating_sub(1)),
                )),
                None => Ok(()),
            },
            HeadsSpec::All(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(score: &Score, layer: usize, roles: &[Role]) -> Option<(Queries, Form, Option<f32>, Heads)> {
        let mut rows = Rows::consecutive(vec![0; roles.len()], 0, Role::Document);
        rows.roles.copy_from_slice(roles);
        match score.evidence(layer, 3, &rows, Some(1.0)) {
            Evidence::Scores { queries, form, scale, heads } => Some((queries, form, scale, heads)),
            Evidence::None | Evidence::Entries | Evidence::Keys(_) => None,
        }
    }

    #[test]
    fn listed_heads_are_asked_in_their_own_layers_and_the_last() {
        let head = |layer, head, weight| ListedHead { layer, head, weight };
        let heads = HeadsSpec::Listed(vec![head(1, 0, 2.0), head(1, 2, 1.0), head(2, 1, 1.0)]);
        let score = Score { heads, ..Score::default() };
        let listed = |layer| asked(&score, layer, &[Role::Document]).map(|(.., heads)| heads);
        assert_eq!(listed(0), None);
        assert_eq!(listed(1), Some(Heads::Listed(vec![(0, 2.0), (2, 1.0)])));
        assert_eq!(listed(2), Some(Heads::Listed(vec![(1, 1.0)])));
        // The layer that decides is asked even where it adds nothing.
        assert_eq!(listed(3), Some(Heads::Listed(Vec::new())));
    }

    #[test]
    fn all_heads_are_asked_at_the_last_layer_only() {
        let score = Score::default();
        assert_eq!(asked(&score, 2, &[Role::Document]), None);
        assert_eq!(
            asked(&score, 3, &[Role::Document]),
            Some((Queries::Window(16), Form::Softmax, None, Heads::Mean)),
            "a softmax has the model's scale"
        );
        let raw = Score { softmax: false, ..score };
        assert_eq!(
            asked(&raw, 3, &[Role::Document]).map(|(_, form, scale, _)| (form, scale)),
            Some((Form::Raw, Some(1.0)))
        );
    }

    #[test]
    fn what_cannot_be_negative_is_held_against_its_surroundings() {
        let listed = |weight| HeadsSpec::Listed(vec![ListedHead { layer: 1, head: 0, weight }]);
        let of = |contrast, softmax, heads: &HeadsSpec| {
            let score = Score { contrast, softmax, heads: heads.clone(), ..Score::default() };
            score.check(2, "score").map(|()| score.contrast()).map_err(|e| e.details["option"].to_string())
        };
        let all = HeadsSpec::All(AllHeads::Mean);
        assert_eq!(of(None, true, &all), Ok(Some(257)));
        assert_eq!(of(None, true, &listed(0.5)), Ok(Some(257)));
        assert_eq!((of(None, false, &all), of(None, true, &listed(-0.5))), (Ok(None), Ok(None)));
        assert_eq!((of(Some(0), true, &all), of(Some(0), false, &all)), (Ok(None), Ok(None)));
        assert_eq!(of(Some(31), true, &all), Ok(Some(31)));
        for refused in [of(Some(30), true, &all), of(Some(31), false, &all), of(Some(31), true, &listed(-0.5))] {
            assert_eq!(refused, Err("\"score.contrast\"".to_owned()));
        }
    }

    #[test]
    fn the_question_asks_where_there_is_one() {
        use Role::{Document, Question, Template};
        let score = Score { queries: QueriesSpec::Question, ..Score::default() };
        let queries = |roles: &[Role]| asked(&score, 3, roles).map(|(queries, ..)| queries);
        assert_eq!(queries(&[Document, Question, Template, Question, Document]), Some(Queries::Rows(1..4)));
        assert_eq!(queries(&[Document, Template]), Some(Queries::Window(16)));
    }
}
