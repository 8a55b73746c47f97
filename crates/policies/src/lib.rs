//! Selection methods: each a file with its paper, its options and its deviations, and a line in the
//! [registry].

mod adakv;
mod anllm;
mod choose;
mod evict;
mod firstlast;
mod fixed;
mod full;
mod gemfilter;
mod h2o;
mod knorm;
mod options;
mod promptdistill;
mod pyramidkv;
mod random;
pub mod registry;
mod sinkwindow;
mod snapkv;
mod tova;

pub use adakv::AdaKv;
pub use anllm::{AnLlm, AnchorSpec};
pub use evict::HeadMode;
pub use firstlast::FirstLast;
pub use full::Full;
pub use gemfilter::GemFilter;
pub use h2o::H2o;
pub use knorm::Knorm;
pub use options::{
    AllHeads, Budget, EdgeSpec, HeadsSpec, ListedHead, Pins, PoolKind, PoolSpec, Positions, QueriesSpec, Round, Score,
};
pub use promptdistill::{PromptDistill, StageSpec};
pub use pyramidkv::PyramidKv;
pub use random::Random;
pub use registry::{About, Context, Method, PolicySpec};
pub use sinkwindow::SinkWindow;
pub use snapkv::SnapKv;
pub use tova::Tova;
