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
