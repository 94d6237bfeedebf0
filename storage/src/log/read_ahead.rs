//! Asking the disk for several records at once.
//!
//! The next record of a conversation is at another place of the log. A reader that waits for one
//! record after the other waits for the disk as many times as there are records.

use std::time::Duration;

/// The time from which a read counts as one that waited for the disk. A read from memory takes 1 to 3 µs,
/// one from a fast disk some 45 µs. Asking for records that are in memory costs less than a µs each.
const SLOW: Duration = match cfg!(test) {
    true => Duration::ZERO,
    false => Duration::from_micros(15),
};
/// The fewest records that are asked for at once.
const FIRST: usize = 32;
/// The most records that are asked for at once: some may not be wanted.
const MOST: usize = 128;

/// Decides how many of the next records a reader asks for before it reads them.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    /// The number of records that were asked for and not read yet.
    asked: usize,
    /// The number to ask for next.
    next: usize,
    /// Whether a read waited for the disk since the last records were asked for.
    waited: bool,
}

impl Default for ReadAhead {
    fn default() -> Self {
        ReadAhead {
            asked: 0,
            next: FIRST,
            waited: false,
        }
    }
}

impl ReadAhead {
    /// Notes that a record was read in this time. Returns the number of next records to ask for
    /// now: 0 while the reads come from memory, or while records that were asked for are left.
    pub(crate) fn after(&mut self, took: Duration) -> usize {
        self.asked = self.asked.saturating_sub(1);
        self.waited |= took >= SLOW;
        if self.asked > 0 || !self.waited {
            return 0;
        }
        self.waited = false;
        self.asked = self.next;
        self.next = (self.next * 2).min(MOST);
        self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_for_more_each_time() {
        let mut ahead = ReadAhead::default();
        let asked: Vec<usize> = (0..300).map(|_| ahead.after(SLOW)).collect();
        let at = |n: usize| (asked[n], asked[n + 1]);
        assert_eq!(
            [at(0), at(32), at(96), at(224)],
            [(32, 0), (64, 0), (128, 0), (128, 0)]
        );
        assert_eq!(asked.iter().sum::<usize>(), 32 + 64 + 128 + 128);
    }
}
