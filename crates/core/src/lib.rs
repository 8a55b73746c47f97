//! The nouns and traits of skimlm.
//!
//! A prompt is walked through a [`Model`], layer by layer, as one or more [`Pass`]es. The model only
//! projects; the walk (in the engine) rotates, appends to the [`KvCache`], asks the [`Policy`],
//! attends and finishes. A policy never runs the model: shown [`Seen`] evidence, it answers with
//! data, a [`Step`].

mod cache;
mod error;
mod hash;
mod model;
mod options;
mod pass;
mod policy;
mod reading;
mod selection;

pub use cache::{Bank, KvCache, LayerAhead, LayerCache};
pub use error::{Code, Error, Result, panic_text};
pub use hash::{FNV_START, fnv1a, splitmix64};
pub use model::{LayerShape, Model, Projected, Shape, Which};
pub use options::{read_options, whole};
pub use pass::{Pass, Role, Rows, Stage};
pub use policy::{Among, Evidence, Flow, Keep, LayerHeads, Policy, Queries, Report, Seen, Step, Warning};
pub use reading::Reading;
pub use selection::Selection;

pub use skimlm_kernels::attention::{ANCHOR, PINNED, Visibility};
pub use skimlm_kernels::keys::Measure;
pub use skimlm_kernels::rope::Rotary;
pub use skimlm_kernels::scores::{Form, Heads};
