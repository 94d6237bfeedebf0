//! The processor time of a thread.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Returns the processor time that the calling thread has used. Zero if the system does not know it.
pub(crate) fn of_thread() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_processor_time() {
        let began = of_thread();
        let later = std::iter::repeat_with(of_thread).take(10_000_000);
        assert!(later.into_iter().any(|now| now > began));
    }
}
