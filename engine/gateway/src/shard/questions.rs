//! Questions to the readers that are not answered, by connection.
//!
//! A reader does not look up what nobody waits for any more: each question carries a flag of its
//! connection, which falls when that is closed. There are no more entries than questions may wait.

use std::collections::HashMap;

use trunkline_core::exchange::Wanted;

#[derive(Debug)]
struct Open {
    wanted: Wanted,
    /// Questions that are not answered,
    all: u32,
    /// and those of them that count as commands in flight.
    counted: u32,
}

/// The open questions of a shard, by slot.
#[derive(Debug, Default)]
pub(super) struct Questions(HashMap<u32, Open>);

impl Questions {
    /// The flag that a question of this connection is to carry.
    pub(super) fn flag(&self, slot: u32) -> Wanted {
        let open = self.0.get(&slot).map(|open| open.wanted.clone());
        open.unwrap_or_default()
    }

    /// A question with this flag is with the readers.
    pub(super) fn asked(&mut self, slot: u32, wanted: Wanted, counted: bool) {
        let open = self.0.entry(slot).or_insert(Open {
            wanted,
            all: 0,
            counted: 0,
        });
        open.all += 1;
        open.counted += u32::from(counted);
    }

    /// One of them is answered.
    pub(super) fn answered(&mut self, slot: u32, counted: bool) {
        if let Some(open) = self.0.get_mut(&slot) {
            open.all -= 1;
            open.counted -= u32::from(counted);
            if open.all == 0 {
                self.0.remove(&slot);
            }
        }
    }

    /// How many are open that count as commands in flight.
    pub(super) fn counted(&self, slot: u32) -> u32 {
        self.0.get(&slot).map_or(0, |open| open.counted)
    }

    /// The connection waits for nothing any more.
    pub(super) fn end(&mut self, slot: u32) {
        if let Some(open) = self.0.remove(&slot) {
            open.wanted.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_wants_nothing() {
        let mut questions = Questions::default();
        let first = questions.flag(1);
        questions.asked(1, first.clone(), true);
        let second = questions.flag(1);
        questions.asked(1, second.clone(), false);
        let other = questions.flag(2);
        questions.asked(2, other.clone(), true);
        assert_eq!(questions.counted(1), 1);
        questions.answered(1, true);
        assert_eq!((questions.counted(1), second.is_so()), (0, true));
        questions.end(1);
        assert!(!second.is_so() && !first.is_so() && other.is_so());
        questions.answered(2, true);
        assert!(questions.0.is_empty());
        // An answer to who is gone, or to the next in that slot, changes nothing.
        questions.answered(1, true);
        assert!(questions.flag(1).is_so());
    }
}
