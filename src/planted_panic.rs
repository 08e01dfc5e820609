//! Panics on request: that a part may fail in the middle of its work is shown by making it fail there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A panic for the next piece of work of a part. Clones are the same panic.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlantedPanic(Arc<AtomicBool>);

impl PlantedPanic {
    pub(crate) fn plant(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Stands in the middle of the work.
    ///
    /// # Panics
    /// Once, if one was planted.
    #[track_caller]
    pub(crate) fn strike(&self) {
        if self.0.swap(false, Ordering::Relaxed) {
            panic!("planted by an operator");
        }
    }
}
