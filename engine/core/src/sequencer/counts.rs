//! The number of messages of each author in the current stretch of a conversation.
//!
//! The sequencer counts while it stores messages. Counts are known if the conversation was in
//! memory for the whole stretch. A recall takes its message out of them, so that the end of the
//! stretch need not read the messages again.

use crate::ids::{Side, UserId};
use crate::state::{Level, STRETCH, Tally};

/// The number of messages of each side of a 1:1 conversation in the current stretch, without recalled
/// ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sides {
    of: [u16; 2],
    recalled: u16,
}

/// The number of messages of each author of a group in the current stretch.
#[derive(Debug, Default)]
pub(super) struct Running {
    tally: Tally,
    /// The number of messages in the tally, and of those that were recalled.
    counted: u64,
}

/// Returns the number of messages of the stretch that come before `seq`.
pub(super) const fn before(seq: u64) -> u64 {
    (seq - 1) % STRETCH
}

impl Sides {
    /// Returns whether all messages of the stretch before `seq` are counted.
    fn knows(self, seq: u64) -> bool {
        let [lesser, greater] = self.of.map(u64::from);
        let counted = lesser + greater + u64::from(self.recalled);
        before(seq) == 0 || counted == before(seq)
    }

    /// Returns the number of messages of the stretch before `seq` that `side` wrote, and then that
    /// of the other side; `None` if they are not counted.
    pub(super) fn counted(self, seq: u64, side: Side) -> Option<[u16; 2]> {
        let [lesser, greater] = self.of;
        self.knows(seq).then_some(match side {
            Side::Lesser => [lesser, greater],
            Side::Greater => [greater, lesser],
        })
    }

    /// Counts a stored message.
    pub(super) fn wrote(&mut self, seq: u64, side: Side) {
        if before(seq) == 0 {
            *self = Self::default();
        }
        if self.knows(seq) {
            self.of[side as usize] += 1;
        }
    }

    /// Takes out the message `seq`, which `side` recalls. `last` is the last message of the
    /// conversation. Does nothing for messages of earlier stretches.
    pub(super) fn recall(&mut self, seq: u64, last: u64, side: Side) {
        if is_current(seq, last) && self.of[side as usize] > 0 {
            self.of[side as usize] -= 1;
            self.recalled += 1;
        }
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

    /// Takes out the message `seq`, which `user` recalls. `last` is the last message of the group.
    /// Does nothing for messages of earlier stretches.
    pub(super) fn recall(&mut self, seq: u64, last: u64, user: UserId) {
        if is_current(seq, last) {
            self.tally.take(user);
        }
    }
}

/// Returns whether the message `seq` is in the stretch of the last message.
fn is_current(seq: u64, last: u64) -> bool {
    Level::Short.stretch(seq) == Level::Short.stretch(last)
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
        assert_eq!(sides.of, [86, 170]);
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
    }

    #[test]
    fn a_recalled_message_is_taken_out_and_the_rest_stays_known() {
        let mut sides = Sides::default();
        let mut running = Running::default();
        let user = |n: u64| TimelineId(u128::from(n));
        for seq in 1..=STRETCH + 9 {
            sides.wrote(seq, Side::Lesser);
            running.wrote(seq, user(1));
        }
        let last = STRETCH + 9;
        for (seq, left) in [(STRETCH, 9), (STRETCH + 1, 8), (STRETCH + 9, 7)] {
            sides.recall(seq, last, Side::Lesser);
            running.recall(seq, last, user(1));
            assert_eq!(sides.counted(last + 1, Side::Lesser), Some([left, 0]));
            let tally = running.counted(last + 1).unwrap();
            assert_eq!(tally.of_others(user(2)), u64::from(left));
        }
        // Where nothing is known, a recall makes nothing known.
        let mut sides = Sides::default();
        let mut running = Running::default();
        sides.recall(5, 5, Side::Lesser);
        running.recall(5, 5, user(1));
        assert!(sides.counted(6, Side::Lesser).is_none() && running.counted(6).is_none());
    }
}
