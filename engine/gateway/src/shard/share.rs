//! The time of a turn for work that can wait, and the order in which the kinds of such work get it.
//!
//! A turn serves sessions first: their mail, and their input if it is short. Everything else shares
//! one [`Stint`]. So a client waits for one stint and one piece of work at most, however many kinds
//! of work there are. Each turn begins with another kind, so none of them waits for ever.

use super::turn::Stint;

/// A kind of work that can wait for a later turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Accepting connections.
    Accepts,
    /// Input of connections that have more than a slice of it, or send it in tiny pieces.
    Input,
    /// Input of connections without a session.
    Newcomers,
    /// Input of connections in the slow lane.
    Lane,
    /// Timers that are due.
    Timers,
    /// Flushes of much output, and of events for a crowd.
    Flushes,
    /// The ends of connections.
    Drops,
}

impl Part {
    /// All kinds, in the order in which a turn gets to them.
    const ALL: [Self; 7] = [
        Self::Accepts,
        Self::Input,
        Self::Newcomers,
        Self::Lane,
        Self::Timers,
        Self::Flushes,
        Self::Drops,
    ];

    /// Returns all kinds, beginning with another one in each turn.
    pub(super) fn of_turn(turn: u64) -> impl Iterator<Item = Self> {
        let first = (turn % Self::ALL.len() as u64) as usize;
        let (before, after) = Self::ALL.split_at(first);
        after.iter().chain(before).copied()
    }
}

/// The time of one turn for all work that can wait. It begins with the first piece.
#[derive(Debug, Default)]
pub(super) struct Share {
    stint: Option<Stint>,
    is_over: bool,
}

impl Share {
    /// Begins the time, unless it has begun.
    pub(super) fn begin(&mut self) {
        self.stint.get_or_insert_with(Stint::begin);
    }

    /// Notes a piece of work. Returns whether the time is over.
    pub(super) fn note_piece(&mut self) -> bool {
        self.is_over = self.stint.is_some_and(Stint::is_over);
        self.is_over
    }

    /// Whether the time is over. There is time for one piece at least.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_begins_with_another_part_and_gets_to_all() {
        for turn in 1..=2 * Part::ALL.len() {
            let parts: Vec<_> = Part::of_turn(turn as u64).collect();
            assert_eq!(parts.len(), Part::ALL.len());
            assert_eq!(parts[0], Part::ALL[turn % Part::ALL.len()]);
            assert!(Part::ALL.iter().all(|part| parts.contains(part)));
        }
    }

    #[test]
    fn a_share_has_time_for_one_piece_at_least() {
        let mut share = Share::default();
        assert!(!share.is_over());
        share.begin();
        assert!(!share.is_over(), "before the first piece");
        while !share.note_piece() {}
        assert!(share.is_over());
        share.begin();
        assert!(share.note_piece(), "it begins once");
    }
}
