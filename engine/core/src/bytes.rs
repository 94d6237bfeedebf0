//! Numbers, ids and texts as bytes.
//!
//! A number is a varint (LEB128) of at most 10 bytes. A difference is a number after zigzag, so that small ones are
//! short in both directions. A text is its length as a number, and its bytes in UTF-8. An id is 16 bytes,
//! little-endian.

use trunkline_storage::TimelineId;

/// Appends a number.
pub(crate) fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Appends the difference of two numbers, modulo 2^64.
pub(crate) fn put_difference(to: &mut Vec<u8>, number: u64, before: u64) {
    let difference = number.wrapping_sub(before) as i64;
    put(to, (difference << 1 ^ difference >> 63) as u64);
}

/// Appends an id.
pub(crate) fn put_id(to: &mut Vec<u8>, id: TimelineId) {
    to.extend_from_slice(&id.0.to_le_bytes());
}

/// Appends a text.
pub(crate) fn put_text(to: &mut Vec<u8>, text: &str) {
    put(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

/// The bytes that are not read yet. Each method returns `None` if they end too early, or have another form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// Reads a byte.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// Reads a number.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// Reads a number that fits into 32 bits.
    pub(crate) fn short(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// Reads a number of things that take at least `bytes` bytes each.
    pub(crate) fn count(&mut self, bytes: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len() / bytes).then_some(count)
    }

    /// Reads what [`put_difference`] wrote.
    pub(crate) fn difference(&mut self, before: u64) -> Option<u64> {
        let zigzag = self.number()?;
        let difference = zigzag >> 1 ^ (zigzag & 1).wrapping_neg();
        Some(before.wrapping_add(difference))
    }

    /// Reads an id.
    pub(crate) fn id(&mut self) -> Option<TimelineId> {
        let (id, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(TimelineId(u128::from_le_bytes(*id)))
    }

    /// Reads eight bytes.
    pub(crate) fn eight(&mut self) -> Option<u64> {
        let (eight, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*eight))
    }

    /// Reads bytes behind their number.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.count(1)?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Reads a text.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        simdutf8::basic::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_lengths_come_back() {
        for shift in 0..64 {
            for number in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put(&mut bytes, number);
                put_difference(&mut bytes, number, 77);
                put_difference(&mut bytes, 77, number);
                let mut input = Input(&bytes);
                assert_eq!(input.number(), Some(number));
                assert_eq!(input.difference(77), Some(number));
                assert_eq!(input.difference(number), Some(77));
                assert_eq!(input.byte(), None);
            }
        }
    }

    #[test]
    fn what_ends_too_early_or_is_too_long_is_no_number() {
        for bytes in [&[][..], &[0x80], &[0xFF; 9], &[0xFF; 11]] {
            assert_eq!(Input(bytes).number(), None, "{bytes:?}");
        }
        let over = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2];
        assert_eq!(Input(&over).number(), None);
        assert_eq!(Input(&[5, b'a']).text(), None);
        assert_eq!(Input(&[3, 0]).count(1), None);
    }
}
