//! The flag that says whether somebody still waits for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag of a query that says whether somebody still waits for the answer. A reader looks nothing
/// up if nobody waits.
#[derive(Debug, Clone)]
pub struct Wanted(Arc<AtomicBool>);

impl Default for Wanted {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Wanted {
    /// Returns whether somebody still waits.
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns whether this is a copy of the other flag.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Notes that nobody waits any more.
    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
