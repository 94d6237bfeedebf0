//! The lists of addresses in `X-Forwarded-For` and `Forwarded`. Each proxy adds the address of its peer
//! at the right.

use std::net::{IpAddr, SocketAddr};

use super::{Proxies, Unclear};

/// Follows a list of addresses from the left to the right, and knows the client at its end: the
/// rightmost address that is not a trusted proxy.
struct Walk<'p> {
    proxies: &'p Proxies,
    client: Client,
}

/// The client, as far as the list was followed.
#[derive(Clone, Copy)]
enum Client {
    /// The list has no address yet.
    None,
    /// The last entry cannot be read: the proxy that wrote it is the client, which comes next.
    Unknown,
    /// The address of the client, unless an address follows that is not a proxy's.
    At(IpAddr),
}

impl Walk<'_> {
    /// Goes on to the next address; `None` for an entry that cannot be read.
    fn hop(&mut self, address: Option<IpAddr>) {
        self.client = match (address, self.client) {
            (None, _) => Client::Unknown,
            (Some(address), Client::At(client)) if self.proxies.trusts(address) => {
                // The address is the client of nobody: it passed on what came before it.
                Client::At(client)
            }
            (Some(address), _) => Client::At(address),
        };
    }

    /// Ends the list. `peer` wrote its last entry.
    const fn end(self, peer: IpAddr) -> IpAddr {
        match self.client {
            Client::At(client) => client,
            Client::None | Client::Unknown => peer,
        }
    }
}

/// Returns the client in the lines of `X-Forwarded-For`; `None` without a line.
pub(super) fn list<'v>(
    proxies: &Proxies,
    peer: IpAddr,
    lines: impl Iterator<Item = &'v [u8]>,
) -> Option<IpAddr> {
    let mut lines = lines.peekable();
    lines.peek()?;
    let mut walk = Walk {
        proxies,
        client: Client::None,
    };
    for line in lines {
        for entry in line.split(|&b| b == b',') {
            let entry = entry.trim_ascii();
            if !entry.is_empty() {
                walk.hop(node(entry));
            }
        }
    }
    Some(walk.end(peer))
}

/// Returns the client in the lines of `Forwarded`; `None` without a line.
///
/// # Errors
/// A line is not written as RFC 7239 asks for.
pub(super) fn standard<'v>(
    proxies: &Proxies,
    peer: IpAddr,
    lines: impl Iterator<Item = &'v [u8]>,
) -> Result<Option<IpAddr>, Unclear> {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let mut walk = Walk {
        proxies,
        client: Client::None,
    };
    for line in lines {
        let mut rest = line;
        loop {
            let element = element(&mut rest).ok_or(Unclear::Syntax)?;
            if !element.is_empty {
                walk.hop(element.client);
            }
            match rest.split_first() {
                None => break,
                Some((b',', more)) => rest = more,
                Some(_) => return Err(Unclear::Syntax),
            }
        }
    }
    Ok(Some(walk.end(peer)))
}

/// One element of `Forwarded`.
#[derive(Default)]
struct Element {
    /// Whether it has no pair. Such elements may stand in lists (RFC 9110 §5.6.1).
    is_empty: bool,
    /// The address behind `for`; `None` without one, or if it is not an address.
    client: Option<IpAddr>,
}

/// Takes an element off the front of a line, up to a comma or the end. Returns `None` for wrong syntax.
fn element(rest: &mut &[u8]) -> Option<Element> {
    let mut element = Element {
        is_empty: true,
        client: None,
    };
    let mut has_client = false;
    loop {
        skip_blanks(rest);
        let name = take_while(rest, is_token);
        if name.is_empty() {
            // Nothing, or nothing behind a semicolon.
            return matches!(rest.first(), None | Some(b',')).then_some(element);
        }
        *rest = rest.strip_prefix(b"=")?;
        element.is_empty = false;
        let is_client = name.eq_ignore_ascii_case(b"for");
        let client = value(rest)?;
        if is_client {
            if std::mem::replace(&mut has_client, true) {
                return None;
            }
            element.client = client;
        }
        skip_blanks(rest);
        match rest.first() {
            None | Some(b',') => return Some(element),
            Some(b';') => *rest = &rest[1..],
            Some(_) => return None,
        }
    }
}

/// Takes a value off the front, with quotes or without. Returns the address in it, if it is one.
/// Returns `None` for wrong syntax.
#[allow(clippy::option_option)] // The outer one: the syntax is wrong.
fn value(rest: &mut &[u8]) -> Option<Option<IpAddr>> {
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        *rest = quoted;
        let text = take_while(rest, |b| b != b'"' && b != b'\\');
        if rest.first() == Some(&b'"') {
            *rest = &rest[1..];
            return Some(node(text));
        }
        // No address has a backslash. The end of the text counts all the same.
        loop {
            match rest {
                [b'\\', _, more @ ..] => *rest = more,
                [b'"', more @ ..] => {
                    *rest = more;
                    return Some(None);
                }
                [_, more @ ..] => *rest = more,
                [] => return None,
            }
        }
    }
    // Many proxies write ports and IPv6 addresses without the quotes that RFC 7239 asks for.
    let text = take_while(rest, |b| is_token(b) || matches!(b, b':' | b'[' | b']'));
    (!text.is_empty()).then(|| node(text))
}

fn skip_blanks(rest: &mut &[u8]) {
    take_while(rest, |b| matches!(b, b' ' | b'\t'));
}

/// Takes the signs off the front that `takes` accepts.
fn take_while<'b>(rest: &mut &'b [u8], takes: impl Fn(u8) -> bool) -> &'b [u8] {
    let end = rest.iter().position(|&b| !takes(b)).unwrap_or(rest.len());
    let (taken, left) = rest.split_at(end);
    *rest = left;
    taken
}

/// Returns whether a byte is a sign of a token (RFC 9110 §5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Returns the address of an entry: an address, one in brackets, or one with a port. `None` for
/// anything else, such as `unknown`.
fn node(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = match inner {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => {
            let with_port = |text: &str| text.parse().ok().map(|at: SocketAddr| at.ip());
            text.parse().ok().or_else(|| with_port(text))
        }
    };
    address.map(|address| address.to_canonical())
}
