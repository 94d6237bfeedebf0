//! Strict checks of a request's head (RFC 9112). If two readers of the same bytes could see
//! different requests, or a body, the request is refused.

use tungstenite::http::{HeaderMap, Request, header};

use super::{Rejection, reject};
use crate::origin::Host;

/// Checks the framing of a request: its lines, and that only frames can follow it.
///
/// # Errors
/// Status 400. Status 417 if the client waits for an interim answer, which the server does not
/// send.
pub(super) fn check(head: &[u8], headers: &HeaderMap) -> Result<(), Rejection> {
    if !lines_end_in_crlf(head) {
        // RFC 9112 §2.2: a line feed alone may be taken for an end, which readers differ in.
        return Err(reject(400, "every line of a request ends with CR and LF"));
    }
    if !target(head).is_some_and(is_plain) {
        return Err(reject(400, "the request's target is not a path or URL"));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(reject(
            400,
            "an upgrade has no body: send no Transfer-Encoding",
        ));
    }
    if !has_no_length(headers) {
        return Err(reject(
            400,
            "an upgrade has no body: send no Content-Length, or one of 0",
        ));
    }
    if headers.contains_key(header::EXPECT) {
        // RFC 9110 §7.8 asks for a 100 before the 101, for a body that there is none of.
        return Err(reject(417, "an upgrade has no body: send no Expect header"));
    }
    Ok(())
}

/// Returns the host that a request names: the host of its target if the target is a whole URL (RFC
/// 9112 §3.2.2), or else of its only `Host` header.
///
/// # Errors
/// Status 400.
pub(super) fn host(request: &Request<()>) -> Result<Host, Rejection> {
    let mut lines = request.headers().get_all(header::HOST).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(reject(400, "send one Host header"));
    };
    let read = |text: &str| Host::parse(text).map(|(host, _)| host);
    let named = line.to_str().ok().and_then(read);
    let named = named.ok_or_else(|| reject(400, "the Host header is not a host, or host:port"))?;
    let Some(authority) = request.uri().authority() else {
        return Ok(named);
    };
    read(authority.as_str()).ok_or_else(|| reject(400, "the request's target has no host"))
}

/// Returns whether each CR stands before an LF, and each LF behind a CR.
fn lines_end_in_crlf(head: &[u8]) -> bool {
    let mut before = 0;
    for &byte in head {
        if (before == b'\r') != (byte == b'\n') {
            return false;
        }
        before = byte;
    }
    true
}

/// Returns the second word of the request line.
fn target(head: &[u8]) -> Option<&[u8]> {
    // The parser passes over empty lines before it.
    let start = head.iter().position(|&b| b != b'\r' && b != b'\n')?;
    head[start..].split(|&b| b == b' ').nth(1)
}

/// Returns whether the target is a path or a URL, in ASCII, and without a fragment (RFC 6455 §3).
fn is_plain(target: &[u8]) -> bool {
    let path = target.starts_with(b"/");
    let url = || {
        let scheme = target.split(|&b| b == b':').next().unwrap_or_default();
        let known = [&b"http"[..], b"https", b"ws", b"wss"];
        let known = known.iter().any(|it| it.eq_ignore_ascii_case(scheme));
        known && target[scheme.len()..].starts_with(b"://")
    };
    let plain = target.iter().all(|&b| b.is_ascii_graphic() && b != b'#');
    plain && (path || url())
}

/// Returns whether the request announces no body: it has no `Content-Length`, or one that is the
/// number 0. Several lines or a list count as a body, as RFC 9112 §6.3 allows.
fn has_no_length(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(line) = lines.next() else {
        return true;
    };
    let zero = !line.is_empty() && line.as_bytes().iter().all(|&digit| digit == b'0');
    zero && lines.next().is_none()
}
