//! Scans and writes the contents of JSON strings, a word at a time.

/// The bytes that [`plain_prefix`] looks at together in a long text.
const CHUNK: usize = 64;

/// The bytes that it looks at together in a shorter one.
const PART: usize = 16;

/// Returns how many bytes at the start of `bytes` stand for themselves inside a JSON string: all
/// before the first quote, backslash or control character.
///
/// Most strings are names, so the first eight bytes need no call.
#[inline]
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    let Some(word) = bytes.first_chunk() else {
        return match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            // Both halves overlap.
            (Some(&first), Some(&last)) if are_plain(first, last) => bytes.len(),
            _ => singly(bytes),
        };
    };
    match specials(u64::from_le_bytes(*word)) {
        0 => behind(bytes),
        special => special.trailing_zeros() as usize / 8,
    }
}

const fn are_plain(first: [u8; 4], last: [u8; 4]) -> bool {
    let (first, last) = (u32::from_le_bytes(first), u32::from_le_bytes(last));
    specials(first as u64 | (last as u64) << 32) == 0
}

/// Does the same as [`plain_prefix`], one byte after another.
fn singly(bytes: &[u8]) -> usize {
    let special = bytes.iter().position(|&byte| is_special(byte));
    special.unwrap_or(bytes.len())
}

/// Does the same as [`plain_prefix`] for a text whose first word is plain.
fn behind(bytes: &[u8]) -> usize {
    let mut at = 8;
    if bytes.len() <= PART {
        return by_its_end(bytes);
    }
    while let Some(chunk) = bytes[at..].first_chunk::<CHUNK>() {
        if !is_plain(chunk) {
            break;
        }
        at += CHUNK;
    }
    while let Some(part) = bytes[at..].first_chunk::<PART>() {
        if !is_plain(part) {
            break;
        }
        at += PART;
    }
    let left = bytes.len() - at;
    // The last part overlaps what is known to be plain.
    if left == 0 || (9..PART).contains(&left) && bytes.last_chunk::<PART>().is_some_and(is_plain) {
        return bytes.len();
    }
    while let Some(word) = bytes[at..].first_chunk() {
        let special = specials(u64::from_le_bytes(*word));
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    by_its_end(bytes)
}

/// Does the same as [`plain_prefix`] for a text whose bytes before the last word, and perhaps some of that word,
/// are plain.
fn by_its_end(bytes: &[u8]) -> usize {
    let Some(last) = bytes.last_chunk() else {
        return singly(bytes);
    };
    match specials(u64::from_le_bytes(*last)) {
        0 => bytes.len(),
        special => bytes.len() - 8 + special.trailing_zeros() as usize / 8,
    }
}

/// Returns whether no byte is special. The compiler looks at all bytes at the same time: the least of these
/// values is 0 if one of them is.
fn is_plain<const N: usize>(bytes: &[u8; N]) -> bool {
    let least = bytes.iter().fold(u8::MAX, |least, &byte| {
        // The highest three bits of a control character are 0.
        let control = byte & 0xe0;
        least.min(byte ^ b'"').min(byte ^ b'\\').min(control)
    });
    least != 0
}

const fn is_special(byte: u8) -> bool {
    (byte < b' ') | (byte == b'"') | (byte == b'\\')
}

/// Returns a mask with the highest bit of every special byte of `word`. Only the lowest mark is
/// reliable: subtractions borrow upwards, so a byte above a special one may be marked wrongly.
const fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * b' ' as u64) & !word;
    let zero = (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
    (control | zero) & HIGH
}

/// Returns how many bytes `text` takes between quotes.
pub(crate) fn escaped_len(text: &str) -> usize {
    let (mut rest, mut len) = (text.as_bytes(), 0);
    loop {
        let plain = plain_prefix(rest);
        len += plain;
        let Some((&byte, behind)) = rest[plain..].split_first() else {
            return len;
        };
        len += match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
            _ => 6,
        };
        rest = behind;
    }
}

/// Appends `text` in quotes, with the escapes that serde_json writes.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_content(out, text);
}

/// Appends `text` with the quote behind it, for a caller that has written the one before it.
#[inline]
pub(crate) fn write_content(out: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    if plain_prefix(text) == text.len() {
        out.extend_from_slice(text);
    } else {
        write_escaped(out, text);
    }
    out.push(b'"');
}

/// Appends a text with characters that do not stand for themselves.
#[cold]
fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_prefix(rest));
        out.extend_from_slice(plain);
        let Some((&byte, behind)) = special.split_first() else {
            return;
        };
        match byte {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            0x08 => out.extend_from_slice(br"\b"),
            0x0c => out.extend_from_slice(br"\f"),
            _ => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A special byte is found at each place of texts of each length around words and chunks.
    #[test]
    fn the_first_special_byte_ends_the_plain_prefix() {
        for len in 0..=3 * CHUNK {
            let mut text = vec![b'~'; len];
            assert_eq!(plain_prefix(&text), len);
            for at in 0..len {
                for special in [b'"', b'\\', 0x1f, 0] {
                    text[at] = special;
                    assert_eq!(plain_prefix(&text), at, "{special} in {len} bytes");
                }
                // What follows the first special byte does not matter.
                text[len - 1] = b'"';
                assert_eq!(plain_prefix(&text), at);
                text[at] = 0xff;
                text[len - 1] = b' ';
                assert_eq!(plain_prefix(&text), len);
                text[at] = b'~';
            }
        }
    }
}
