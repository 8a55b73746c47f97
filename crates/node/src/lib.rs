//! The Node.js binding: conversions and a pull stream.
//!
//! Long lists of numbers cross as flat typed arrays, events as objects, options and outcomes as JSON. An
//! error crosses as JSON in the message of a JavaScript error (see `error`); `src/errors.ts` takes it
//! apart again.

mod error;
mod json;
mod thread;

pub mod events;
pub mod inspect;
pub mod kernels;
pub mod loading;
pub mod model;
pub mod run;
pub mod selection;
pub mod study;

#[global_allocator]
static ALLOCATOR: skimlm_kernels::allocator::Allocator = skimlm_kernels::allocator::Allocator;

#[napi_derive::module_init]
fn start() {
    skimlm_kernels::allocator::tune();
}
