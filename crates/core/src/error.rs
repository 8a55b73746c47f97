use serde_json::{Map, Value};

/// The stable name of a kind of failure. Callers match on it; it is never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// No such model, or a part of it is missing.
    ModelNotFound,
    /// The file is not what its name says, or it is damaged.
    ModelCorrupt,
    /// A sound model that this version cannot run.
    ModelUnsupported,
    /// The tokenizer is missing or does not belong to the weights.
    Tokenizer,
    /// There is no chat template, or it failed.
    ChatTemplate,
    /// An option is wrong.
    InvalidArg,
    /// The policy cannot be right on this model.
    PolicyUnsupported,
    /// There is nothing to read.
    EmptyPrompt,
    /// The prompt does not fit the model's positions.
    ContextOverflow,
    /// Memory is not enough.
    OutOfMemory,
    /// The device cannot be used.
    Device,
    /// The model has been disposed of.
    Disposed,
    /// Too many requests are waiting.
    Busy,
    /// NaN or infinity where numbers are needed.
    Numerics,
    /// A file cannot be read or written: no space, no permission.
    Storage,
    /// The caller's signal ended the work.
    Cancelled,
    /// A mistake of ours.
    Internal,
}

impl Code {
    /// The name as TypeScript callers see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ModelNotFound => "ERR_MODEL_NOT_FOUND",
            Self::ModelCorrupt => "ERR_MODEL_CORRUPT",
            Self::ModelUnsupported => "ERR_MODEL_UNSUPPORTED",
            Self::Tokenizer => "ERR_TOKENIZER",
            Self::ChatTemplate => "ERR_CHAT_TEMPLATE",
            Self::InvalidArg => "ERR_INVALID_ARG",
            Self::PolicyUnsupported => "ERR_POLICY_UNSUPPORTED",
            Self::EmptyPrompt => "ERR_EMPTY_PROMPT",
            Self::ContextOverflow => "ERR_CONTEXT_OVERFLOW",
            Self::OutOfMemory => "ERR_OUT_OF_MEMORY",
            Self::Device => "ERR_DEVICE",
            Self::Disposed => "ERR_DISPOSED",
            Self::Busy => "ERR_BUSY",
            Self::Numerics => "ERR_NUMERICS",
            Self::Storage => "ERR_STORAGE",
            Self::Cancelled => "ERR_CANCELLED",
            Self::Internal => "ERR_INTERNAL",
        }
    }
}

/// A failure: a stable code, a sentence for people and the values for machines.
///
/// The sentence says what happened, the value, the limit and one thing to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind of failure.
    pub code: Code,
    /// One or two sentences.
    pub message: String,
    /// The values behind the message.
    pub details: Map<String, Value>,
    /// What lies below, if anything does.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result with a coded error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Map::new(), source: None }
    }

    /// `ERR_INVALID_ARG` with `{ option, value, expected }`; a value of more than 80 characters is cut.
    pub fn invalid_option(option: &str, value: impl Into<Value>, expected: impl Into<String>) -> Self {
        let ((shown, value), expected) = (shown(value.into()), expected.into());
        Self::new(Code::InvalidArg, format!("`{option}` is {shown}; it must be {expected}."))
            .with("option", option)
            .with("value", value)
            .with("expected", expected)
    }

    /// Adds one value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.into(), value.into());
        self
    }

    /// Names the layer where a number went wrong, unless that is known or the failure is another.
    #[must_use]
    pub fn in_layer(mut self, layer: usize) -> Self {
        if self.code == Code::Numerics && !self.details.contains_key("layer") {
            self.message = format!("In layer {layer}: {}", self.message);
            if !self.message.contains("dtype") {
                self.message.push_str(" Load the model with the option `dtype: \"f32\"`.");
            }
            return self.with("layer", layer);
        }
        self
    }

    /// Names what lies below.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}

/// A value for a sentence and for the details: one of more than 80 characters is cut in both, for it may be a book.
pub(crate) fn shown(value: Value) -> (String, Value) {
    let mut text = value.to_string();
    if text.chars().nth(80).is_none() {
        return (text, value);
    }
    text.truncate(text.char_indices().nth(77).map_or(text.len(), |(at, _)| at));
    text.push_str("...");
    (text.clone(), text.into())
}

/// What a panic says, as `catch_unwind` hands it over.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl From<skimlm_kernels::Error> for Error {
    fn from(error: skimlm_kernels::Error) -> Self {
        use skimlm_kernels::Error as Kernel;
        let error = match error {
            Kernel::Tensor(error) => return error.into(),
            other => other,
        };
        let code = match &error {
            Kernel::NonFinite { .. } => Code::Numerics,
            Kernel::Invalid { .. } | Kernel::Level { .. } => Code::InvalidArg,
            Kernel::Unsupported { .. } | Kernel::Device { .. } => Code::Device,
            Kernel::Tensor(_) => Code::Internal,
        };
        let coded = Self::new(code, error.to_string());
        let coded = match &error {
            Kernel::NonFinite { index, .. } => coded.with("index", *index),
            Kernel::Device { id, why } => coded.with("device", id.as_str()).with("reason", why.as_str()),
            _ => coded,
        };
        coded.caused_by(error)
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        if skimlm_kernels::device::is_out_of_memory(&error) {
            let suggestion = "a policy that keeps fewer tokens, a shorter prompt, or the option `device`: \"cpu\"";
            return Self::new(Code::OutOfMemory, format!("The GPU has no memory left. Use {suggestion}."))
                .with("suggestion", suggestion)
                .caused_by(error);
        }
        Self::new(Code::Internal, format!("a tensor operation failed: {error}")).caused_by(error)
    }
}
