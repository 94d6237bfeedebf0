//! Waits for conditions, never for a fixed time.

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
