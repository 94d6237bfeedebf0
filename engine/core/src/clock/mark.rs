//! The mark of time in the store, from which a restart continues.

use std::time::Duration;

/// The steady time between two stored marks.
pub(crate) const EVERY: Duration = Duration::from_mins(1);

/// The steady time and the wire time when the mark was stored, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) steady: u64,
    pub(crate) wire: u64,
}

impl Mark {
    /// Returns the stored form: two numbers of 8 bytes, little-endian.
    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.steady.to_le_bytes());
        bytes[8..].copy_from_slice(&self.wire.to_le_bytes());
        bytes
    }

    /// Reads a stored mark; `None` if the bytes are not a mark.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (steady, wire) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            steady: u64::from_le_bytes(*steady),
            wire: u64::from_le_bytes(*wire.first_chunk::<8>()?),
        })
    }

    /// Returns whether it is time to store `newer` in place of this mark.
    pub(crate) fn is_due(self, newer: Self) -> bool {
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
        };
        assert_eq!(Mark::read(&mark.bytes()), Some(mark));
        assert_eq!(Mark::read(&mark.bytes()[..15]), None);
        assert_eq!(Mark::read(b""), None);
    }

    #[test]
    fn a_minute_makes_a_mark_due() {
        let mark = |steady, wire| Mark { steady, wire };
        let old = mark(100_000, 200_000);
        assert!(!old.is_due(mark(159_999, 259_999)));
        assert!(old.is_due(mark(160_000, 200_000)));
        assert!(old.is_due(mark(100_000, 260_000)));
        assert!(old.is_due(mark(100_000, 140_000)), "back, too");
    }
}
