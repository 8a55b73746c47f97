//! Selection methods: each a file with its paper, its options and its deviations, and a line in the
//! [registry].

mod adakv;
mod anllm;
mod auto;
mod choose;
mod evict;
mod firstlast;
mod fixed;
mod full;
mod gemfilter;
mod h2o;
mod keydiff;
mod knorm;
mod narrowing;
mod options;
mod profile;
mod promptdistill;
mod pyramidkv;
mod random;
pub mod registry;
mod sinkwindow;
mod snapkv;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tova;
mod windows;

pub use adakv::AdaKv;
pub use anllm::{AnLlm, AnchorSpec};
pub use auto::Auto;
pub use choose::{fill_runs, ranked, sentences};
pub use evict::HeadMode;
pub use firstlast::FirstLast;
pub use full::Full;
pub use gemfilter::GemFilter;
pub use h2o::H2o;
pub use keydiff::KeyDiff;
pub use knorm::Knorm;
pub use options::{
    AllHeads, Budget, CONTRAST, EdgeSpec, HeadsSpec, Limit, ListedHead, POOL, Pins, PoolKind, PoolSpec, Positions,
    QueriesSpec, Quota, Round, Score, StageSpec, WINDOW,
};
pub use profile::{Calibration, Measured, ModelKey, Profile, Setting};
pub use promptdistill::PromptDistill;
pub use pyramidkv::PyramidKv;
pub use random::Random;
pub use registry::{About, Context, Method, PolicySpec};
pub use sinkwindow::SinkWindow;
pub use snapkv::SnapKv;
pub use tova::Tova;
