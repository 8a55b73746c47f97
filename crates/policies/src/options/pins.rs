use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skimlm_core::{Role, Rows};

/// Tokens that survive whatever their score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Pins {
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
    /// 4 sinks, template, system, question and the last token, charged to the budget: the published methods pin nothing,
    /// and may lose the question itself.
    fn default() -> Self {
        Self { sinks: 4, template: true, system: true, question: true, last: 1, charge_budget: true }
    }
}

impl Pins {
    /// One flag a row. Rows the caller pinned are always flagged.
    pub(crate) fn flags(&self, rows: &Rows) -> Vec<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 7] =
        [Role::Template, Role::System, Role::Document, Role::Pinned, Role::Document, Role::Question, Role::Template];

    fn pinned(pins: Pins) -> Vec<usize> {
        let rows = Rows { roles: ROLES.to_vec(), ..Rows::consecutive(vec![0; 7], 0, Role::Document) };
        (0..).zip(pins.flags(&rows)).filter(|(_, flag)| *flag).map(|(i, _)| i).collect()
    }

    #[test]
    fn roles_and_ends_are_pinned_as_asked() {
        let none = Pins { sinks: 0, template: false, system: false, question: false, last: 0, charge_budget: true };
        assert_eq!(pinned(none), [3], "what the caller pinned stays");
        assert_eq!(pinned(Pins { sinks: 2, ..none }), [0, 1, 3]);
        assert_eq!(pinned(Pins { last: 2, ..none }), [3, 5, 6]);
        assert_eq!(pinned(Pins { template: true, ..none }), [0, 3, 6]);
        assert_eq!(pinned(Pins { system: true, question: true, ..none }), [1, 3, 5]);
        assert_eq!(pinned(Pins { sinks: 99, ..none }).len(), 7);
    }
}
