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

pub use choose::{fill_runs, ranked, sentences};
pub use full::Full;
pub use options::{Budget, CONTRAST, Limit, POOL, WINDOW};
pub use profile::{Calibration, Measured, ModelKey, Profile, Setting};
pub use registry::{About, Context, Method, PolicySpec};

pub(crate) use adakv::AdaKv;
pub(crate) use anllm::AnLlm;
pub(crate) use auto::Auto;
pub(crate) use firstlast::FirstLast;
pub(crate) use gemfilter::GemFilter;
pub(crate) use h2o::H2o;
pub(crate) use keydiff::KeyDiff;
pub(crate) use knorm::Knorm;
pub(crate) use promptdistill::PromptDistill;
pub(crate) use pyramidkv::PyramidKv;
pub(crate) use random::Random;
pub(crate) use sinkwindow::SinkWindow;
pub(crate) use snapkv::SnapKv;
pub(crate) use tova::Tova;
