/// Runs `$run` with `$T` as what a cache of `$dtype` holds, a `Stored` type; a type that no cache holds is an error of
/// `$op`.
macro_rules! stored {
    ($op:literal, $dtype:expr, $T:ident => $run:expr) => {
        match $dtype {
            ::candle_core::DType::F32 => {
                type $T = f32;
                $run
            }
            ::candle_core::DType::F16 => {
                type $T = ::half::f16;
                $run
            }
            ::candle_core::DType::BF16 => {
                type $T = ::half::bf16;
                $run
            }
            $crate::cached::Q8_0 => {
                type $T = $crate::cached::Block;
                $run
            }
            other => Err($crate::error::Error::Unsupported { op: $op, what: format!("entries of {other:?}") }),
        }
    };
}
