//! The messages that a user deleted from the own view: one bit for each, in stretches of a
//! conversation.

/// The number of sequences in one value.
const STRETCH: u64 = 1024;

/// The deleted messages of one stretch, one bit each, under an id of user, conversation and
/// stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hidden([u8; (STRETCH / 8) as usize]);

impl Default for Hidden {
    fn default() -> Self {
        Self([0; (STRETCH / 8) as usize])
    }
}

impl Hidden {
    /// Returns the number of the stretch that holds `seq`.
    pub(crate) fn stretch(seq: u64) -> u64 {
        seq / STRETCH
    }

    /// Reads a stored value. Without a value no message of the stretch is deleted.
    pub(crate) fn read(value: Option<&[u8]>) -> Self {
        let bits = value.and_then(|value| value.try_into().ok());
        bits.map_or_else(Self::default, Self)
    }

    /// Returns the bytes to store.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether the user deleted the message `seq` of this stretch.
    pub(crate) fn has(&self, seq: u64) -> bool {
        let (byte, bit) = Self::place(seq);
        self.0[byte] & bit != 0
    }

    /// Notes that the user deleted the message `seq` of this stretch.
    pub(crate) fn hide(&mut self, seq: u64) {
        let (byte, bit) = Self::place(seq);
        self.0[byte] |= bit;
    }

    /// Returns the index of the byte and the bit in it that stand for `seq`.
    fn place(seq: u64) -> (usize, u8) {
        let at = seq % STRETCH;
        ((at / 8) as usize, 1 << (at % 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sequence_has_a_bit_of_its_own() {
        let mut hidden = Hidden::read(None);
        for seq in [1024, 1031, 1032, 2047] {
            assert!(!hidden.has(seq));
            hidden.hide(seq);
            assert_eq!(Hidden::stretch(seq), 1);
        }
        let again = Hidden::read(Some(hidden.bytes()));
        let has: Vec<_> = (1024..2048).filter(|&seq| again.has(seq)).collect();
        assert_eq!(has, [1024, 1031, 1032, 2047]);
        assert_eq!(Hidden::stretch(2048), 2);
    }
}
