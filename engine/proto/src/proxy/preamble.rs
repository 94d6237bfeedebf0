//! The PROXY protocol: a proxy sends a preamble before the first byte of its client, which says who the
//! client is (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most bytes of a preamble. Version 2 allows 64 KiB for values that the gateway does not read.
pub const LONGEST: usize = 4 << 10;

/// The most bytes of a preamble of version 1, with CR and LF.
const LONGEST_1: usize = 107;

/// The fewest bytes of a preamble: a line of version 1, with CR and LF.
const SHORTEST: usize = "PROXY UNKNOWN\r\n".len();

/// The first bytes of version 1.
const SIGNATURE_1: &[u8] = b"PROXY ";

/// The first bytes of version 2.
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of the fixed part of version 2.
const FIXED_2: usize = 16;

/// A complete preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// The number of bytes of the preamble. Those of the client follow.
    pub size: usize,
    /// The address of the client. `None`: the proxy connects on its own behalf, or does not know the
    /// client.
    pub client: Option<IpAddr>,
}

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The preamble is complete.
    Complete(Preamble),
    /// The preamble has at least this number of further bytes, and one at least.
    Incomplete(usize),
}

/// The reason why bytes are no preamble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreambleError {
    /// The connection begins with something else.
    #[error("the connection does not begin with the PROXY protocol")]
    Missing,
    /// A line of version 1 cannot be read.
    #[error("the line of the PROXY protocol cannot be read")]
    Line,
    /// A preamble of version 2 has an unknown version, command or family, or is too short for it.
    #[error("the PROXY protocol has an unknown version, command or address")]
    Binary,
    /// The preamble is longer than [`LONGEST`].
    #[error("the preamble of the PROXY protocol is longer than {LONGEST} bytes")]
    TooLong,
}

/// Reads the preamble at the front of the first bytes of a connection.
///
/// # Errors
/// The bytes are no preamble, or one that is too long.
pub fn read(bytes: &[u8]) -> Result<Progress, PreambleError> {
    if bytes.is_empty() {
        return Ok(Progress::Incomplete(SHORTEST));
    }
    if begins(bytes, SIGNATURE_2) {
        return binary(bytes);
    }
    if begins(bytes, SIGNATURE_1) {
        return line(bytes);
    }
    Err(PreambleError::Missing)
}

/// Returns whether bytes begin with a signature, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let common = bytes.len().min(signature.len());
    bytes[..common] == signature[..common]
}

fn line(bytes: &[u8]) -> Result<Progress, PreambleError> {
    let window = &bytes[..bytes.len().min(LONGEST_1)];
    let Some(end) = window.iter().position(|&b| b == b'\n') else {
        if window.len() == LONGEST_1 {
            return Err(PreambleError::Line);
        }
        let least = if window.last() == Some(&b'\r') { 1 } else { 2 };
        let least = least.max(SHORTEST.saturating_sub(window.len()));
        return Ok(Progress::Incomplete(least));
    };
    let text = window[..end].strip_suffix(b"\r");
    let text = text.and_then(|text| std::str::from_utf8(text).ok());
    let client = text.and_then(words).ok_or(PreambleError::Line)?;
    Ok(Progress::Complete(Preamble {
        size: end + 1,
        client,
    }))
}

/// Reads the words of a line. Returns `None` for a line that cannot be read.
#[allow(clippy::option_option)] // The outer one: the line cannot be read.
fn words(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        // The rest of the line says nothing.
        return Some(None);
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = |text: &str| {
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        let plain = plain && (text == "0" || !text.starts_with('0'));
        plain.then(|| text.parse::<u16>().ok())?
    };
    let client = address(words.next()?)?;
    address(words.next()?)?;
    port(words.next()?)?;
    port(words.next()?)?;
    words.next().is_none().then(|| Some(client.to_canonical()))
}

fn binary(bytes: &[u8]) -> Result<Progress, PreambleError> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_2) else {
        return Ok(Progress::Incomplete(FIXED_2 - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let is_local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(PreambleError::Binary),
    };
    // The bytes that the addresses take; behind them are further values.
    let needed = match fixed[13] {
        0x00 => 0,
        // TCP over IPv4 and IPv6, and a stream of a Unix socket.
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ if is_local => 0,
        _ => return Err(PreambleError::Binary),
    };
    if !is_local && length < needed {
        return Err(PreambleError::Binary);
    }
    let size = FIXED_2 + length;
    if size > LONGEST {
        return Err(PreambleError::TooLong);
    }
    if rest.len() < length {
        return Ok(Progress::Incomplete(length - rest.len()));
    }
    let client = match (is_local, fixed[13]) {
        (false, 0x11) => rest
            .first_chunk()
            .map(|&at| Ipv4Addr::from_octets(at).into()),
        (false, 0x21) => rest
            .first_chunk()
            .map(|&at| Ipv6Addr::from_octets(at).into()),
        _ => None,
    };
    Ok(Progress::Complete(Preamble {
        size,
        client: client.map(|client: IpAddr| client.to_canonical()),
    }))
}
