/// Runs `$run` with the GPU that holds `$tensor`, and returns what it answers; nothing on the CPU.
macro_rules! on_gpu {
    ($tensor:expr, |$gpu:ident| $run:expr) => {
        #[cfg(feature = "cuda")]
        if let Some($gpu) = crate::gpu::of($tensor)? {
            let $gpu = &$gpu;
            return $run;
        }
    };
}
