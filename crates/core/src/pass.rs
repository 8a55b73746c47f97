use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Where a token of the prompt comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The text to read.
    #[default]
    Document,
    /// A part of the document that the caller wants to survive.
    Pinned,
    /// What is asked of it.
    Question,
    /// The system message.
    System,
    /// What the chat template puts around them.
    Template,
}

/// Token rows: parallel lists, one element a row, positions strictly ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Position of each row: the angle of its rotation and what causality compares.
    pub positions: Vec<u32>,
    /// Label that the row's cache entry carries, chosen by the policy (0: none).
    pub tags: Vec<u32>,
    /// Where each row comes from.
    pub roles: Vec<Role>,
}

impl Rows {
    /// Rows of one role at the positions `first`, `first + 1`, ...
    pub fn consecutive(tokens: Vec<u32>, first: u32, role: Role) -> Self {
        let n = tokens.len();
        Self { tokens, positions: (first..).take(n).collect(), tags: vec![0; n], roles: vec![role; n] }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The rows `indices`, in that order. Indices beyond the end are left out; selections are
    /// checked where they are made.
    pub fn gather(&self, indices: &[u32]) -> Self {
        fn pick<T: Copy>(from: &[T], indices: &[u32]) -> Vec<T> {
            indices.iter().filter_map(|&i| from.get(i as usize).copied()).collect()
        }
        Self {
            tokens: pick(&self.tokens, indices),
            positions: pick(&self.positions, indices),
            tags: pick(&self.tags, indices),
            roles: pick(&self.roles, indices),
        }
    }

    /// As [`Self::gather`], at consecutive positions from where these rows begin: a shorter prompt in the place of this
    /// one.
    pub fn gather_fresh(&self, indices: &[u32]) -> Self {
        let mut rows = self.gather(indices);
        let first = self.positions.first().copied().unwrap_or(0);
        rows.positions = (first..).take(rows.len()).collect();
        rows
    }
}

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A scratch pass that only finds out what to read: no keys stay.
    Filter,
    /// The prompt pass: its keys stay in the cache and its last row gives logits.
    Prefill,
    /// One generated token.
    Decode,
}

/// One walk of some rows through some layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// What it is for, which also says whether its keys stay.
    pub stage: Stage,
    /// Who walks.
    pub rows: Rows,
    /// Through which layers. All of them unless it is a filter pass.
    pub layers: Range<usize>,
}

impl Pass {
    /// Whether the cache keeps the keys and values of this pass.
    pub fn keeps_keys(&self) -> bool {
        self.stage != Stage::Filter
    }
}
