use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Role, Rows};

/// Tokens that survive whatever their score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Pins {
    /// First tokens of the prompt (attention sinks).
    pub sinks: usize,
    /// What the chat template puts around the contents.
    pub template: bool,
    /// The system message.
    pub system: bool,
    /// The question.
    pub question: bool,
    /// Last tokens of the prompt.
    pub last: usize,
    /// Whether pinned tokens count towards the budget.
    pub charge_budget: bool,
}

impl Default for Pins {
    /// 4 sinks, template, system, question and the last token, charged to the budget
    /// (`methods.md` 10.5 of the specification: removes GemFilter's G1).
    fn default() -> Self {
        Self { sinks: 4, template: true, system: true, question: true, last: 1, charge_budget: true }
    }
}

impl Pins {
    /// One flag a row. Rows the caller pinned are always flagged.
    pub fn flags(&self, rows: &Rows) -> Vec<bool> {
        let n = rows.len();
        let by_role = |role: Role| match role {
            Role::Document => false,
            Role::Pinned => true,
            Role::Question => self.question,
            Role::System => self.system,
            Role::Template => self.template,
        };
        let at_end = |i: usize| i < self.sinks || i + self.last >= n;
        rows.roles.iter().enumerate().map(|(i, &role)| by_role(role) || at_end(i)).collect()
    }
}
