/// What a kernel answers when it cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Shapes, lengths or options that do not fit together.
    #[error("{op}: {what}")]
    Invalid {
        /// The operation.
        op: &'static str,
        /// What does not fit, with the values.
        what: String,
    },
    /// A NaN or an infinity where a finite number is required.
    #[error("{op}: the value at index {index} is {value}")]
    NonFinite {
        /// The operation.
        op: &'static str,
        /// Flat index of the first bad value.
        index: usize,
        /// The bad value.
        value: f32,
    },
    /// The operation has no implementation for this device or data type.
    #[error("{op}: no implementation for {what}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// The device or data type.
        what: String,
    },
    /// A device that cannot be used.
    #[error("The device {id} cannot be used: {why}")]
    Device {
        /// `cuda:N`.
        id: String,
        /// Why, in a sentence.
        why: String,
    },
    /// `SKIMLM_KERNELS` asks for something that is not there.
    #[error("SKIMLM_KERNELS is `{asked}`: {why}. Unset it, or set it to one of: {present}.")]
    Level {
        /// What was asked for.
        asked: String,
        /// Why it cannot be.
        why: String,
        /// The levels that this processor has.
        present: String,
    },
    /// candle could not allocate, copy or convert.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// A kernel's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Fails with the first NaN or infinity.
pub(crate) fn finite(op: &'static str, values: &[f32]) -> Result<()> {
    match crate::simd::not_finite(values) {
        Some(index) => Err(Error::NonFinite { op, index, value: values[index] }),
        None => Ok(()),
    }
}

pub(crate) fn invalid<T>(op: &'static str, what: String) -> Result<T> {
    Err(Error::Invalid { op, what })
}
