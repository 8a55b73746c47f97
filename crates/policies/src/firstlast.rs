//! A control: the beginning and the end of the prompt.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Policy, Reading, Result};

use crate::fixed::{self, Fixed};
use crate::options::{Budget, Pins};
use crate::registry::{About, Context, Method};

/// Options of the first-and-last control.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FirstLast {
    /// Tokens to keep; none: 1024, or more if the pins need it.
    pub budget: Option<Budget>,
    /// Tokens that are always kept.
    pub pins: Pins,
}

impl Method for FirstLast {
    const KIND: &'static str = "firstlast";
    const ABOUT: About = About {
        idea: "A control: the pins and as many tokens from the beginning as from the end, read as a short prompt.",
        paper: "none",
        good: "What cutting out the middle would do.",
        bad: "Evidence in the middle.",
        cost: "All layers on `budget` tokens.",
    };

    fn check(&self, _: &Context<'_>) -> Result<()> {
        fixed::check(self.budget)
    }

    fn build(self, _: &Context<'_>) -> Box<dyn Policy> {
        Box::new(Fixed::new(self.pins, self.budget, |n| {
            (0..n).map(|i| if i % 2 == 0 { i / 2 } else { n - 1 - i / 2 }).collect()
        }))
    }

    fn reading(&self, _: &Context<'_>, tokens: usize) -> Reading {
        fixed::reading(self.budget, tokens)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skimlm_core::{LayerShape, Pass, Role, Rows, Stage};

    use super::*;
    use crate::testing::shape;

    #[test]
    fn both_ends_take_turns_from_the_beginning_on() {
        let shape = shape(vec![LayerShape::default(); 4]);
        let none = json!({ "sinks": 0, "template": false, "system": false, "question": false, "last": 0 });
        for (budget, want) in [(1, vec![0]), (4, vec![0, 1, 8, 9]), (5, vec![0, 1, 2, 8, 9])] {
            let options =
                FirstLast { budget: Some(Budget::Tokens(budget)), pins: serde_json::from_value(none.clone()).unwrap() };
            let rows = Rows::consecutive((0..10).collect(), 0, Role::Document);
            let mut policy = options.build(&Context::new(&shape, 1));
            let pass = policy.begin(Pass { stage: Stage::Prefill, rows, layers: 0..4 }, &shape).unwrap();
            assert_eq!(pass.rows.tokens, want);
        }
    }
}
