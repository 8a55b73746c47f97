//! Selection methods: each a file with its paper, its options and its deviations, and a line in the
//! [registry].

mod choose;
mod full;
mod gemfilter;
mod options;
pub mod registry;

pub use full::Full;
pub use gemfilter::GemFilter;
pub use options::{
    AllHeads, Budget, EdgeSpec, HeadsSpec, ListedHead, Pins, PoolSpec, Positions, QueriesSpec, Round, Score,
};
pub use registry::{About, Context, Method, PolicySpec};
