//! The questions of a shard's connections that are not answered.

use std::collections::HashMap;

use trunkline_core::exchange::Wanted;

/// The open questions of one connection.
#[derive(Debug)]
struct Open {
    wanted: Wanted,
    /// All open questions.
    all: u32,
    /// The open questions that count as commands in flight.
    counted: u32,
}

/// The open questions of a shard, by slot.
///
/// The questions of a connection share a flag. The flag falls when the connection ends, so that
/// readers do not look up an answer that nobody waits for.
#[derive(Debug, Default)]
pub(super) struct Questions(HashMap<u32, Open>);

impl Questions {
    /// Returns the flag for a question of a connection.
    pub(super) fn flag(&self, slot: u32) -> Wanted {
        let open = self.0.get(&slot).map(|open| open.wanted.clone());
        open.unwrap_or_default()
    }

    /// Counts a question of a connection. `counted`: it is a command in flight.
    pub(super) fn asked(&mut self, slot: u32, counted: bool) {
        let open = self.0.entry(slot).or_insert_with(|| Open {
            wanted: Wanted::default(),
            all: 0,
            counted: 0,
        });
        open.all += 1;
        open.counted += u32::from(counted);
    }

    /// Counts an answer to a question. `counted` as in [`Self::asked`].
    pub(super) fn answered(&mut self, slot: u32, counted: bool) {
        if let Some(open) = self.0.get_mut(&slot) {
            open.all -= 1;
            open.counted -= u32::from(counted);
            if open.all == 0 {
                self.0.remove(&slot);
            }
        }
    }

    /// Returns how many open questions of a connection count as commands in flight.
    pub(super) fn counted(&self, slot: u32) -> u32 {
        self.0.get(&slot).map_or(0, |open| open.counted)
    }

    /// Forgets the questions of a connection that waits for no answer any more. Returns their flag, if
    /// there are any.
    pub(super) fn end(&mut self, slot: u32) -> Option<Wanted> {
        let open = self.0.remove(&slot)?;
        open.wanted.end();
        Some(open.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_wants_nothing() {
        let mut questions = Questions::default();
        questions.asked(1, true);
        let first = questions.flag(1);
        questions.asked(1, false);
        let second = questions.flag(1);
        questions.asked(2, true);
        let other = questions.flag(2);
        assert_eq!(questions.counted(1), 1);
        questions.answered(1, true);
        assert_eq!((questions.counted(1), second.is_so()), (0, true));
        questions.end(1);
        assert!(!second.is_so() && !first.is_so() && other.is_so());
        questions.answered(2, true);
        assert!(questions.0.is_empty());
        // An answer to a connection that is gone, or to the next one in its slot, changes nothing.
        questions.answered(1, true);
        assert!(questions.flag(1).is_so());
    }
}
