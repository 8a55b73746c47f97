use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;
use skimlm_core::{Code, Error, Result, panic_text};

/// A coded error as `{ code, message, details, causes }`: JavaScript sees it as the error's message.
pub(crate) fn to_js(error: Error) -> napi::Error {
    let mut causes = Vec::new();
    let mut below = error.source();
    while let Some(cause) = below {
        causes.push(cause.to_string());
        below = cause.source();
    }
    let Error { code, message, details, .. } = error;
    napi::Error::from_reason(
        json!({ "code": code.as_str(), "message": message, "details": details, "causes": causes }).to_string(),
    )
}

/// Runs a call from JavaScript; a panic becomes `ERR_INTERNAL`, because it must not cross into C.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T>) -> napi::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).map_err(to_js)
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let what = panic_text(panic);
    Error::new(Code::Internal, format!("a native call panicked: {what}. Please report it.")).with("panic", what)
}
