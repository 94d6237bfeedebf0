//! Waits for conditions, never for a fixed time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most that anything may take. Far above what a busy machine needs: reaching it means that
/// the condition never comes.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How long to sleep between two looks at a condition that nobody signals.
const LOOK: Duration = Duration::from_millis(5);

/// Asks `condition` again and again until it returns something, and returns that.
///
/// # Panics
/// The condition returns nothing within [`LIMIT`].
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        if let Some(found) = condition() {
            return found;
        }
        std::thread::sleep(LOOK);
    }
    panic!("waited {LIMIT:?} for {what}");
}

/// Asks `condition` again and again until it is met. Returns whether it was within [`LIMIT`].
pub fn maybe(mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        if condition() {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    false
}

/// Sets a flag when it is dropped, also by a test that fails. A thread that goes on until the flag is
/// set then ends: otherwise the failing test would wait for the thread for ever.
#[derive(Debug)]
pub struct SetAtTheEnd<'a>(pub &'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
