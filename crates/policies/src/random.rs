//! A control: tokens drawn at random.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Policy, Reading, Result};

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
            order.sort_by_key(|&i| mix(seed, i as u64));
            order
        }))
    }

    fn reading(&self, _: &Context<'_>, tokens: usize) -> Reading {
        fixed::reading(self.budget, tokens)
    }
}

/// splitmix64 of a seed and an index: equal draws on every machine.
fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::mix;

    #[test]
    fn draws_are_those_of_splitmix64() {
        // What its authors' C code gives for the seed 0.
        let published = [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F];
        assert_eq!([0, 1, 2].map(|index| mix(0, index)), published);
        assert_ne!(mix(1, 0), mix(0, 0));
    }
}
