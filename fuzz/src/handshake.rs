//! The upgrade of HTTP to WebSocket, both sides.
//!
//! Input: one byte (bit 0: a request for the gateway, or a response for a client), then the head.

use trunkline_proto::Encoding;
use trunkline_proto::handshake::{parse_request, parse_response};
use trunkline_proto::origin::Allowed;

use crate::bytes::Bytes;

/// As many bytes of a request as the gateway takes.
const LIMIT: usize = 8 << 10;
/// The example of RFC 6455 §1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub(crate) fn feed(input: &[u8]) {
    let mut input = Bytes(input);
    if input.byte() & 1 == 0 {
        request(input.0);
    } else {
        for encoding in [Encoding::Json, Encoding::Proto] {
            if let Ok(Some(size)) = parse_response(input.0, KEY, encoding) {
                assert!(size <= input.0.len());
            }
        }
    }
}

fn request(head: &[u8]) {
    match parse_request(head, LIMIT) {
        Ok(None) => assert!(head.len() < LIMIT, "more is awaited than is taken"),
        Err(rejection) => {
            let mut answer = Vec::new();
            rejection.response(&mut answer);
            assert!(answer.starts_with(b"HTTP/1.1 "));
        }
        Ok(Some((upgrade, size))) => {
            assert!(size <= LIMIT && head[..size].ends_with(b"\r\n\r\n"));
            let alone = parse_request(&head[..size], LIMIT);
            assert!(matches!(alone, Ok(Some((_, whole))) if whole == size));
            let early = parse_request(&head[..size - 1], LIMIT);
            assert!(matches!(early, Ok(None)), "a request without its end");
            let allowed = Allowed {
                any: false,
                list: Vec::new(),
                loopback: true,
            };
            let _ = allowed.admit(&upgrade.caller);
            let mut answer = Vec::new();
            upgrade.accept(&mut answer);
            assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
            // Nothing of the request gets a line of its own in the answer.
            let lines = answer.windows(2).filter(|two| two == b"\r\n").count();
            assert!(lines <= 7, "{}", String::from_utf8_lossy(&answer));
        }
    }
}
