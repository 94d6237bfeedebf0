//! A wake-up for a thread without an event loop.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use trunkline_core::exchange::Wake;

/// A wake-up for a thread that waits for several things and has no event loop. It stays rung until the
/// thread has waited.
#[derive(Debug, Default)]
pub struct Bell {
    is_rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    /// Waits until the bell is rung, for at most `within`. Returns whether it was.
    pub fn wait(&self, within: Duration) -> bool {
        let mut is_rung = self.is_rung.lock();
        if !*is_rung {
            // Looked at afterwards: a wake-up without a cause is one for nothing.
            let _ = self.changed.wait_for(&mut is_rung, within);
        }
        std::mem::take(&mut *is_rung)
    }
}

impl Wake for Bell {
    fn wake(&self) {
        *self.is_rung.lock() = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_that_was_rung_before_ends_the_next_wait_alone() {
        let bell = Bell::default();
        bell.wake();
        bell.wake();
        assert!(bell.wait(Duration::from_secs(3_600)));
        assert!(!bell.wait(Duration::ZERO));
    }
}
