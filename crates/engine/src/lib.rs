//! The engine of skimlm: the walk, sessions, generation, and the text around them.
//!
//! [`load`] opens a model, a [`Worker`] gives it a thread of its own, a [`Request`] becomes a stream
//! of [`Event`]s.

pub mod files;
pub mod sample;
pub mod text;

mod ahead;
mod context;
mod control;
mod device;
mod generate;
mod load;
mod memory;
mod output;
mod overflow;
mod request;
mod session;
mod store;
mod walk;
mod worker;

pub use ahead::Stepper;
pub use control::{Cancel, Control, DEFAULT_CHUNK, Progress};
pub use device::{DeviceInfo, devices, peak_bytes, peak_resident_bytes, reset_peak};
pub use generate::generate;
pub use load::{LoadOptions, Loaded, ModelInfo, inspect, load, profile_beside};
pub use memory::{Estimate, MemoryEstimate, MemoryNeed, estimate_memory};
pub use output::{Event, FinishReason, Memory, Outcome, SelectionData, TextChunk, Timings, Usage};
pub use request::{DEFAULT_NEW_TOKENS, Overflow, Request, UserPins};
pub use session::{Session, Spent};
pub use store::{Bound, Store};
pub use walk::{Walked, walk};
pub use worker::{Run, Worker};
