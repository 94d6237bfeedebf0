//! The number of messages of each author in the current stretch of a conversation.
//!
//! The sequencer counts while it stores messages. Counts are known if the conversation was in
//! memory for the whole stretch, and nothing of the stretch was recalled.

use crate::ids::{Side, UserId};
use crate::state::{STRETCH, Tally};

/// The number of messages of each side of a 1:1 conversation in the current stretch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sides([u16; 2]);

/// The number of messages of each author of a group in the current stretch.
#[derive(Debug, Default)]
pub(super) struct Running {
    tally: Tally,
    /// The number of messages in the tally.
    counted: u64,
}

/// Returns the number of messages of the stretch that come before `seq`.
pub(super) const fn before(seq: u64) -> u64 {
    (seq - 1) % STRETCH
}

impl Sides {
    /// Returns whether all messages of the stretch before `seq` are counted.
    fn knows(self, seq: u64) -> bool {
        let counted = self.0.map(u64::from).iter().sum::<u64>();
        before(seq) == 0 || counted == before(seq)
    }

    /// Returns the number of messages of the stretch before `seq` that `side` wrote, and then that
    /// of the other side; `None` if they are not counted.
    pub(super) fn counted(self, seq: u64, side: Side) -> Option<[u16; 2]> {
        let [lesser, greater] = self.0;
        self.knows(seq).then_some(match side {
            Side::Lesser => [lesser, greater],
            Side::Greater => [greater, lesser],
        })
    }

    /// Counts a stored message.
    pub(super) fn wrote(&mut self, seq: u64, side: Side) {
        if before(seq) == 0 {
            self.0 = [0; 2];
        }
        if self.knows(seq) {
            self.0[side as usize] += 1;
        }
    }

    /// Drops the counts of the stretch. A recalled message may be among them, and the store knows
    /// which one.
    pub(super) fn forget(&mut self) {
        self.0 = [u16::MAX; 2];
    }
}

impl Running {
    fn knows(&self, seq: u64) -> bool {
        before(seq) == 0 || self.counted == before(seq)
    }

    /// Returns the tally of the messages of the stretch before `seq`; `None` if they are not
    /// counted.
    pub(super) fn counted(&self, seq: u64) -> Option<Tally> {
        self.knows(seq).then(|| self.tally.clone())
    }

    /// Counts a stored message.
    pub(super) fn wrote(&mut self, seq: u64, user: UserId) {
        if before(seq) == 0 {
            *self = Self::default();
        }
        if self.knows(seq) {
            self.tally.add(user, 1);
            self.counted += 1;
        }
    }

    /// Drops the counts of the stretch. A recalled message may be among them, and the store knows
    /// which one.
    pub(super) fn forget(&mut self) {
        self.tally = Tally::default();
        self.counted = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use trunkline_storage::TimelineId;

    use super::*;

    #[test]
    fn what_was_counted_from_the_beginning_of_a_stretch_is_known() {
        let mut sides = Sides::default();
        let mut running = Running::default();
        for seq in 1..=3 * STRETCH {
            assert!(sides.knows(seq) && running.knows(seq), "{seq}");
            let side = if seq % 3 == 0 {
                Side::Lesser
            } else {
                Side::Greater
            };
            sides.wrote(seq, side);
            running.wrote(seq, TimelineId(u128::from(seq % 3)));
        }
        // Of the last stretch: every third.
        assert_eq!(sides.0, [86, 170]);
        assert_eq!(running.tally.of_others(TimelineId(0)), 170);
        // From the middle of a stretch on nothing is known of it.
        let (mut sides, mut running) = (Sides::default(), Running::default());
        for seq in 5..=STRETCH {
            assert!(!sides.knows(seq) && !running.knows(seq), "{seq}");
            sides.wrote(seq, Side::Lesser);
            running.wrote(seq, TimelineId(1));
        }
        sides.wrote(STRETCH + 1, Side::Lesser);
        running.wrote(STRETCH + 1, TimelineId(1));
        assert!(sides.knows(STRETCH + 2) && running.knows(STRETCH + 2));
        sides.forget();
        running.forget();
        for seq in STRETCH + 2..=2 * STRETCH {
            assert!(!sides.knows(seq) && !running.knows(seq), "{seq}");
            sides.wrote(seq, Side::Lesser);
            running.wrote(seq, TimelineId(1));
        }
    }
}
