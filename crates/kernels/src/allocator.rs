//! The allocator for programs that run these kernels.
//!
//! A layer's activations are megabytes that live for a millisecond. The system's allocator gives such
//! blocks back at once and faults them in again, on one thread while the others wait: a quarter of the
//! time of a prompt with two threads on Linux.

/// What a program that reads prompts should declare as its `#[global_allocator]`.
///
/// In a library that Node loads it serves the library alone.
pub use mimalloc::MiMalloc as Allocator;

/// How long a freed block stays before the system gets it back, in milliseconds: longer than a chunk of
/// a prompt takes in a layer, so that the next one finds it. The allocator's own 10 are not enough for
/// long prompts; what is kept on top by 100 is below 5 MB.
const KEPT: std::ffi::c_long = 100;

/// Adjusts [`Allocator`] to these kernels. Call once, at the start.
pub fn tune() {
    /// `mi_option_purge_delay`, for which the bindings have no name.
    const PURGE_DELAY: std::ffi::c_int = 15;
    // SAFETY: sets one number in the allocator's table of options, of which 15 is one.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, KEPT);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_is_that_of_the_delay() {
        let read = || {
            // SAFETY: reads an option.
            #[allow(unsafe_code)]
            unsafe {
                libmimalloc_sys::mi_option_get(15)
            }
        };
        // The default of this version, or what the environment says.
        let usual = std::env::var("MIMALLOC_PURGE_DELAY").map_or(10, |ms| ms.parse().unwrap());
        assert_eq!(read(), usual);
        super::tune();
        assert_eq!(read(), super::KEPT);
    }
}
