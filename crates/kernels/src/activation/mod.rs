//! `gate * sigmoid(gate) * up`, element by element: the gated activation of a Llama-style MLP.
//!
//! [`crate::linear::gated`] computes it: on processors in place, a piece of the product with the gate at a time, on a
//! GPU of two tensors f32 of the same shape.

pub(crate) mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
#[cfg(test)]
mod gpus;
pub(crate) mod reference;
#[cfg(test)]
mod tests;
