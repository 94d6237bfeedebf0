//! Frame headers (RFC 6455 §5.2): parses headers, and writes frames into a buffer.

use crate::error::CloseCode;
use crate::mask;

/// The longest header in bytes: two bytes, eight of length, four of masking key.
pub const MAX_HEADER: usize = 14;

/// The longest payload of a control frame in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL: usize = 125;

/// The opcode of a frame (RFC 6455 §11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Returns whether this is a control frame. A control frame may stand between the fragments of
    /// a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the last fragment of its message.
    pub fin: bool,
    /// The opcode of the frame.
    pub opcode: Opcode,
    /// The masking key; frames of a client have one.
    pub mask: Option<[u8; 4]>,
    /// The number of payload bytes behind the header.
    pub len: u64,
}

/// A violation of RFC 6455 or of one of the server's limits by a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[allow(missing_docs, reason = "the messages are the documentation")]
pub enum FrameError {
    #[error("a reserved bit is set and no extension was negotiated")]
    ReservedBit,
    #[error("reserved opcode")]
    ReservedOpcode,
    #[error("the length is not in its shortest form")]
    LengthNotMinimal,
    #[error("the length has its highest bit set")]
    LengthTooLarge,
    #[error("a control frame is fragmented")]
    FragmentedControl,
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    #[error("a frame of a client is not masked")]
    NotMasked,
    #[error("a frame of a server is masked")]
    Masked,
    #[error("a continuation without a message to continue")]
    UnexpectedContinuation,
    #[error("a new message inside a fragmented one")]
    ExpectedContinuation,
    #[error("a close frame with a payload of one byte")]
    ShortClose,
    #[error("an invalid close code")]
    CloseCode,
    #[error("text that is not UTF-8")]
    Utf8,
    #[error("a message larger than the limit")]
    TooBig,
}

impl FrameError {
    /// All kinds of errors, for metrics and tests.
    pub const ALL: [Self; 14] = [
        Self::ReservedBit,
        Self::ReservedOpcode,
        Self::LengthNotMinimal,
        Self::LengthTooLarge,
        Self::FragmentedControl,
        Self::LongControl,
        Self::NotMasked,
        Self::Masked,
        Self::UnexpectedContinuation,
        Self::ExpectedContinuation,
        Self::ShortClose,
        Self::CloseCode,
        Self::Utf8,
        Self::TooBig,
    ];

    /// Returns the code to close the connection with (RFC 6455 §7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 => CloseCode::INVALID_PAYLOAD,
            Self::TooBig => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL,
        }
    }
}

/// Parses the header at the start of `bytes`. Returns the header and its length in bytes, or `None`
/// if more bytes are needed.
///
/// # Errors
/// Fails as soon as the bytes show one of these: a reserved bit or opcode, a control frame that is
/// fragmented or too long, a length that is not in its shortest form or is above 2^63-1.
pub fn parse_header(bytes: &[u8]) -> Result<Option<(Header, usize)>, FrameError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(FrameError::ReservedBit);
    }
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameError::ReservedOpcode)?;
    let fin = first & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Err(FrameError::FragmentedControl);
    }
    let Some((&second, rest)) = rest.split_first() else {
        return Ok(None);
    };
    let short = second & 0x7f;
    if opcode.is_control() && usize::from(short) > MAX_CONTROL {
        return Err(FrameError::LongControl);
    }
    let (len, rest, mut size) = match short {
        126 => {
            let Some((len, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let len = u64::from(u16::from_be_bytes(*len));
            if len < 126 {
                return Err(FrameError::LengthNotMinimal);
            }
            (len, rest, 4)
        }
        127 => {
            let Some((len, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            let len = u64::from_be_bytes(*len);
            if len <= u64::from(u16::MAX) {
                return Err(FrameError::LengthNotMinimal);
            }
            if len > i64::MAX as u64 {
                return Err(FrameError::LengthTooLarge);
            }
            (len, rest, 10)
        }
        short => (u64::from(short), rest, 2),
    };
    let mask = if second & 0x80 == 0 {
        None
    } else {
        let Some(&key) = rest.first_chunk() else {
            return Ok(None);
        };
        size += 4;
        Some(key)
    };
    Ok(Some((
        Header {
            fin,
            opcode,
            mask,
            len,
        },
        size,
    )))
}

/// Appends the header of an unfragmented frame.
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, len: usize, mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode as u8);
    match len {
        0..=125 => out.push(masked | len as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[], |key| key));
}

/// Appends an unfragmented frame.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    write_header(out, opcode, payload.len(), mask);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        mask::apply(&mut out[start..], key, 0);
    }
}

/// The bytes of the header of a medium frame: 126 to 65,535 bytes of payload, the common case.
const MEDIUM: usize = 4;

/// Appends a frame whose payload `fill` writes in place, so the caller need not know its length
/// beforehand.
///
/// The function leaves room for the header of a medium frame (126 to 65,535 bytes of payload), the
/// common case. For other lengths it moves the payload by a few bytes.
#[inline]
pub fn write_with(
    out: &mut Vec<u8>,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    let key = mask.as_ref().map_or(0, |_| 4);
    out.extend_from_slice(&[0; MAX_HEADER][..MEDIUM + key]);
    fill(out);
    end(out, start, opcode, mask);
}

/// Begins a frame of a server. The payload is what the caller appends until [`end_frame`]. Returns where the
/// frame begins in `out`.
pub fn begin_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; MEDIUM]);
    start
}

/// Returns the bytes of payload of the frame that [`begin_frame`] began at `start`.
pub const fn begun(out: &[u8], start: usize) -> usize {
    out.len() - start - MEDIUM
}

/// Ends the frame that [`begin_frame`] began at `start`. Its payload is all that follows.
pub fn end_frame(out: &mut Vec<u8>, start: usize, opcode: Opcode) {
    end(out, start, opcode, None);
}

/// Masks the payload behind the room for a medium header at `start`, and writes the header.
#[inline]
fn end(out: &mut Vec<u8>, start: usize, opcode: Opcode, mask: Option<[u8; 4]>) {
    let key = mask.as_ref().map_or(0, |_| 4);
    let payload = start + MEDIUM + key;
    let len = out.len() - payload;
    if let Some(key) = mask {
        mask::apply(&mut out[payload..], key, 0);
    }
    let size = key
        + match len {
            0..=125 => 2,
            126..=0xffff => MEDIUM,
            _ => 10,
        };
    if start + size > payload {
        let missing = start + size - payload;
        out.extend_from_slice(&[0; MAX_HEADER][..missing]);
    }
    if start + size != payload {
        out.copy_within(payload..payload + len, start + size);
        out.truncate(start + size + len);
    }
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out[start] = 0x80 | opcode as u8;
    match len {
        0..=125 => out[start + 1] = masked | len as u8,
        126..=0xffff => {
            out[start + 1] = masked | 126;
            out[start + 2..start + 4].copy_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out[start + 1] = masked | 127;
            out[start + 2..start + 10].copy_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if let Some(key) = mask {
        out[start + size - 4..start + size].copy_from_slice(&key);
    }
}

/// Appends a close frame. A reason that is too long for a control frame is cut.
pub fn write_close(out: &mut Vec<u8>, code: CloseCode, reason: &str, mask: Option<[u8; 4]>) {
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = [0; MAX_CONTROL];
    payload[..2].copy_from_slice(&code.0.to_be_bytes());
    payload[2..2 + end].copy_from_slice(&reason.as_bytes()[..end]);
    write_frame(out, Opcode::Close, &payload[..2 + end], mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 11] = [
        0, 1, 124, 125, 126, 127, 300, 65_535, 65_536, 65_537, 200_000,
    ];

    #[test]
    fn headers_of_every_length_class() {
        for len in LENGTHS {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut out = Vec::new();
                write_header(&mut out, Opcode::Binary, len, mask);
                for cut in 0..out.len() {
                    assert_eq!(parse_header(&out[..cut]), Ok(None), "{len} cut at {cut}");
                }
                let header = Header {
                    fin: true,
                    opcode: Opcode::Binary,
                    mask,
                    len: len as u64,
                };
                assert_eq!(parse_header(&out), Ok(Some((header, out.len()))), "{len}");
            }
        }
    }

    #[test]
    fn all_writers_agree() {
        for len in LENGTHS {
            for mask in [None, Some([9, 8, 7, 6])] {
                let payload = vec![b'x'; len];
                let (mut one, mut other) = (b"before".to_vec(), b"before".to_vec());
                write_frame(&mut one, Opcode::Text, &payload, mask);
                write_with(&mut other, Opcode::Text, mask, |out| {
                    out.extend_from_slice(&payload)
                });
                assert!(one == other, "length {len}, mask {mask:?}");
            }
            let (mut one, mut other) = (b"before".to_vec(), b"before".to_vec());
            let start = begin_frame(&mut one);
            one.resize(one.len() + len, b'x');
            assert_eq!(begun(&one, start), len);
            end_frame(&mut one, start, Opcode::Binary);
            write_frame(&mut other, Opcode::Binary, &vec![b'x'; len], None);
            assert!(one == other, "length {len}");
        }
    }

    #[test]
    fn errors() {
        let check = |bytes: &[u8], error| assert_eq!(parse_header(bytes), Err(error), "{bytes:?}");
        for bit in [0x40, 0x20, 0x10] {
            check(&[0x81 | bit, 0], FrameError::ReservedBit);
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            check(&[0x80 | opcode, 0], FrameError::ReservedOpcode);
        }
        check(&[0x09, 0], FrameError::FragmentedControl);
        check(&[0x88, 126], FrameError::LongControl);
        check(&[0x82, 126, 0, 125], FrameError::LengthNotMinimal);
        check(
            &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            FrameError::LengthNotMinimal,
        );
        check(
            &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
            FrameError::LengthTooLarge,
        );
    }

    #[test]
    fn long_close_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        write_close(&mut out, CloseCode::NORMAL, &"ä".repeat(100), None);
        assert_eq!(out.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}
