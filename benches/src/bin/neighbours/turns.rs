//! Whose turn it is: what the measuring thread tells the thread of the honest users, and the reverse.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst};

/// A part of a measurement. A message belongs to the turn in which it should be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing is counted.
    Between,
    /// A control before the first attack.
    First,
    /// The control of a round, before its attack.
    Before,
    /// The attack.
    Attack,
    /// A control after all rounds.
    After,
    /// The attacker's load goes to a server that does nothing.
    Sink,
}

/// The turns that are counted, in their order.
pub(crate) const COUNTED: [Turn; 5] = [
    Turn::First,
    Turn::Before,
    Turn::Attack,
    Turn::After,
    Turn::Sink,
];

impl Turn {
    /// Returns the digit of the turn in the text of messages.
    pub(crate) const fn digit(self) -> u8 {
        b'0' + self as u8
    }

    /// Returns the turn of a digit.
    pub(crate) fn of_digit(digit: u8) -> Option<Self> {
        let counted = COUNTED.into_iter();
        let mut all = counted.chain([Self::Between]);
        all.find(|turn| turn.digit() == digit)
    }

    /// Returns the place among [`COUNTED`], if the turn is counted.
    pub(crate) fn counted(self) -> Option<usize> {
        COUNTED.iter().position(|&turn| turn == self)
    }
}

/// What the two threads share.
#[derive(Debug, Default)]
pub(crate) struct Board {
    turn: AtomicU8,
    over: AtomicBool,
    waiting: AtomicU64,
}

impl Board {
    /// Begins a turn.
    pub(crate) fn begin(&self, turn: Turn) {
        self.turn.store(turn.digit(), SeqCst);
    }

    /// Returns the present turn.
    pub(crate) fn turn(&self) -> Turn {
        Turn::of_digit(self.turn.load(SeqCst)).unwrap_or(Turn::Between)
    }

    /// Ends the measurement.
    pub(crate) fn end(&self) {
        self.over.store(true, SeqCst);
    }

    /// Whether the measurement is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Says how many messages of the attack's turn have not arrived.
    pub(crate) fn report_waiting(&self, messages: u64) {
        self.waiting.store(messages, SeqCst);
    }

    /// Returns how many messages of the attack's turn have not arrived.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_what_was_begun() {
        let board = Board::default();
        assert_eq!(board.turn(), Turn::Between);
        for turn in COUNTED {
            board.begin(turn);
            assert_eq!(board.turn(), turn);
            assert_eq!(turn.counted().map(|at| COUNTED[at]), Some(turn));
        }
        assert_eq!(Turn::Between.counted(), None);
        assert_eq!(Turn::of_digit(b'9'), None);
    }
}
