//! The heap of this process.
#![expect(unsafe_code, reason = "no safe crate has malloc_trim")]

/// Gives the system back what the heap holds and nobody uses. To be called when much was freed: the C library keeps the
/// holes between what is left, however large they are in all. Takes a millisecond or so, during which other threads may
/// wait for memory. Does nothing where the C library is another one than GNU's.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and moves nothing that is in use.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
