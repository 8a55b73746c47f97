//! A control: tokens drawn at random.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Policy, Reading, Result, splitmix64};

use crate::fixed::{self, Fixed};
use crate::options::{Budget, Pins};
use crate::registry::{About, Context, Method};

/// Options of the random control.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Random {
    /// Tokens to keep; none: 1024, or more if the pins need it.
    pub budget: Option<Budget>,
    /// The draw.
    pub seed: u64,
    /// Tokens that are always kept.
    pub pins: Pins,
}

impl Method for Random {
    const KIND: &'static str = "random";
    const ABOUT: About = About {
        idea: "A control: the pins and tokens drawn at random, read as a short prompt.",
        paper: "none",
        good: "A lower bound: a method that does not beat it does not work.",
        bad: "Everything else.",
        cost: "All layers on `budget` tokens.",
    };

    fn check(&self, _: &Context<'_>) -> Result<()> {
        fixed::check(self.budget)
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        let seed = self.seed;
        Box::new(Fixed::new(self.pins, self.budget, move |n| {
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by_key(|&i| splitmix64(seed, i as u64));
            order
        }))
    }

    fn reading(&self, _: &Context<'_>, tokens: usize) -> Reading {
        fixed::reading(self.budget, tokens)
    }
}
