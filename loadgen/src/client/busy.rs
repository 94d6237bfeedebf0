//! How much of a processor a generator thread takes while messages are sent.

use nix::time::{ClockId, clock_gettime};

use super::SendWindow;
use crate::clock::{Nanos, to_nanos};

/// Two looks at the CPU time of a thread: the first and the last of those while messages are sent.
#[derive(Debug, Default)]
pub(super) struct Busy {
    looks: Option<[Look; 2]>,
}

/// The CPU time that a thread had taken at a time.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Nanos,
    cpu: Nanos,
}

impl Busy {
    /// Looks at the CPU time of the calling thread, if messages are sent now.
    pub(super) fn look(&mut self, now: Nanos, sending: SendWindow) {
        if !(sending.from..=sending.until).contains(&now) {
            return;
        }
        // Without that clock nothing is known, which the summary shows.
        if let Ok(cpu) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) {
            self.note(now, to_nanos(cpu.into()));
        }
    }

    fn note(&mut self, at: Nanos, cpu: Nanos) {
        let look = Look { at, cpu };
        let [first, _] = self.looks.unwrap_or([look; 2]);
        self.looks = Some([first, look]);
    }

    /// Returns the part of a processor that the thread took, 0 to 1; `None` if messages were sent for too short a time.
    pub(super) fn part(&self) -> Option<f64> {
        let [first, last] = self.looks?;
        let time = last.at.saturating_sub(first.at);
        let cpu = last.cpu.saturating_sub(first.cpu);
        (time > 0).then(|| cpu as f64 / time as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_as_busy_as_between_the_first_look_and_the_last() {
        let mut busy = Busy::default();
        assert_eq!(busy.part(), None);
        busy.note(1_000, 400);
        assert_eq!(busy.part(), None);
        busy.note(2_000, 1_400);
        busy.note(3_000, 1_900);
        assert_eq!(busy.part(), Some(0.75));
    }

    #[test]
    fn only_the_time_of_sending_counts() {
        let sending = SendWindow {
            from: 10,
            until: 20,
        };
        let mut busy = Busy::default();
        for (now, looked) in [(9, false), (21, false), (10, true)] {
            busy.look(now, sending);
            assert_eq!(busy.looks.is_some(), looked, "{now}");
        }
    }
}
