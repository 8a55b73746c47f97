/// How a policy reads a prompt, as far as memory goes. A policy that keeps `n` tokens or more of `n` reads
/// it whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// All tokens through all layers (full attention).
    Whole,
    /// Some tokens, chosen before anything is read (the controls).
    Short {
        /// Tokens that are read.
        kept: usize,
    },
    /// One layer's cache at a time, then a short prompt through the whole model (GemFilter).
    Restart {
        /// Tokens of the short prompt.
        kept: usize,
    },
    /// All tokens up to a layer, the kept ones from there on (PromptDistill).
    Narrow {
        /// The layer that selects.
        layer: usize,
        /// Tokens that go on.
        kept: usize,
    },
    /// All tokens through all layers, each of which then keeps some of its entries (SnapKV, H2O and
    /// others).
    Evict {
        /// Entries that a layer keeps.
        kept: usize,
        /// Whether every query head keeps entries of its own, as the published code has it.
        per_query_head: bool,
    },
}
