//! What holds for every model, prompt and setting, without a reference implementation's numbers.
#![allow(clippy::unwrap_used, clippy::panic)]

mod anchors;
mod cache;
mod choice;
mod dense;
mod equality;
mod failure;
mod given;
mod models;
mod progress;
mod turns;
