//! Selection in linear time: radix search for the threshold, windows without subtraction.

mod pool;
mod radix;

pub(super) use pool::pool;
pub(super) use radix::top_k;
