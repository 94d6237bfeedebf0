//! The form of one field of a body: a tag byte, the length of the value as a varint (LEB128), and
//! the value.

/// Appends a number field. The value is little-endian, without trailing zero bytes.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, tag: u8, value: u64) {
    let bytes = value.to_le_bytes();
    field(out, tag, &bytes[..8 - value.leading_zeros() as usize / 8]);
}

/// Appends a field with this value.
#[inline]
pub(super) fn field(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    let mut len = value.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(value);
}

/// Reads the length of a value. Returns it with the bytes that follow; `None` if the bytes end
/// within it, or it is longer than 5 bytes.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// A field of a list of fields.
pub(super) struct One<'a> {
    pub(super) tag: u8,
    value: &'a [u8],
}

impl<'a> One<'a> {
    /// Returns the value as text; `None` if it is none.
    pub(super) fn text(&self) -> Option<&'a str> {
        simdutf8::basic::from_utf8(self.value).ok()
    }

    /// Returns the value as a number; `None` if it is longer than 8 bytes.
    pub(super) fn number(&self) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes
            .get_mut(..self.value.len())?
            .copy_from_slice(self.value);
        Some(u64::from_le_bytes(bytes))
    }
}

/// The fields of a list, one after another. An item is `None` if the bytes end within a field.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<One<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.0.split_first()?;
        let found = varint(rest).and_then(|(len, rest)| rest.split_at_checked(len));
        let (value, rest) = match found {
            Some(found) => found,
            None => {
                self.0 = &[];
                return Some(None);
            }
        };
        self.0 = rest;
        Some(Some(One { tag, value }))
    }
}
