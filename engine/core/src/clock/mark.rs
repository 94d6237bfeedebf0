//! The mark of time in the store, from which a restart continues.

use std::time::Duration;

/// The steady time between two stored marks.
pub(crate) const EVERY: Duration = Duration::from_mins(1);

/// The steady time and the wire time when the mark was stored, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) steady: u64,
    pub(crate) wire: u64,
    /// The steady time since which starts have added nothing: the next start adds no more than what has
    /// passed since. 0 if an earlier version stored the mark.
    pub(crate) added: u64,
}

impl Mark {
    /// Returns the stored form: three numbers of 8 bytes, little-endian.
    pub(crate) fn bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let numbers = [self.steady, self.wire, self.added];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads a stored mark; `None` if the bytes are not a mark. One of an earlier version has two numbers.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (steady, rest) = bytes.split_first_chunk::<8>()?;
        let (wire, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            steady: u64::from_le_bytes(*steady),
            wire: u64::from_le_bytes(*wire),
            added: rest
                .first_chunk()
                .map_or(0, |added| u64::from_le_bytes(*added)),
        })
    }

    /// Returns whether it is time to store `newer` in place of this mark. A start that has added something stores
    /// it at once: the next start would count what was added as time that ran.
    pub(crate) fn is_due(self, newer: Self) -> bool {
        if self.added != newer.added {
            return true;
        }
        let passed = |older: u64, newer: u64| newer.abs_diff(older) >= EVERY.as_millis() as u64;
        passed(self.steady, newer.steady) || passed(self.wire, newer.wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back() {
        let mark = Mark {
            steady: 1,
            wire: u64::MAX - 1,
            added: 7,
        };
        assert_eq!(Mark::read(&mark.bytes()), Some(mark));
        let before = Mark { added: 0, ..mark };
        assert_eq!(Mark::read(&mark.bytes()[..16]), Some(before));
        assert_eq!(Mark::read(&mark.bytes()[..15]), None);
        assert_eq!(Mark::read(b""), None);
    }

    #[test]
    fn a_minute_makes_a_mark_due() {
        let mark = |steady, wire| Mark {
            steady,
            wire,
            added: 0,
        };
        let old = mark(100_000, 200_000);
        assert!(!old.is_due(mark(159_999, 259_999)));
        assert!(old.is_due(mark(160_000, 200_000)));
        assert!(old.is_due(mark(100_000, 260_000)));
        assert!(old.is_due(mark(100_000, 140_000)), "back, too");
    }
}
