//! Counts events within a second.

use crate::timer::{TICKS_PER_SECOND, Tick};

/// Counts events in windows of a second. A window begins with the first event after the last window.
///
/// Up to twice the limit may come within a second that spans two windows. That is enough where only the
/// order of magnitude matters, and it takes 8 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PerSecond {
    began: Tick,
    count: u16,
}

impl PerSecond {
    /// Counts an event. Returns whether the window has at most `most` events.
    pub(crate) fn allows(&mut self, now: Tick, most: u16) -> bool {
        if now >= self.began + TICKS_PER_SECOND {
            self.began = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count <= most
    }

    /// Returns the number of ticks until the next window can begin.
    pub(crate) fn left(&self, now: Tick) -> Tick {
        (self.began + TICKS_PER_SECOND).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_each_second() {
        let mut window = PerSecond::default();
        for second in [0, 10, 25, 35, 1_000] {
            for now in [second, second, second + 9] {
                assert!(window.allows(now, 3), "{now}");
            }
            assert!(!window.allows(second + 9, 3) && !window.allows(second + 9, 3));
        }
    }

    #[test]
    fn more_than_it_counts() {
        let mut window = PerSecond::default();
        for _ in 0..=u16::MAX {
            window.allows(1, 1);
        }
        assert!(!window.allows(1, 1));
        assert_eq!(
            (window.left(0), window.left(4), window.left(99)),
            (10, 6, 0)
        );
    }
}
