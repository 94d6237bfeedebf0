//! The HTTP upgrade: right requests are taken, wrong ones refused with a reason.

use trunkline_tests::gateway::Gateway;
use trunkline_tests::http::{Answer, exchange};
use trunkline_tests::neighbours::Neighbours;

/// Returns an upgrade that works, with `change` made to its lines.
fn request(change: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let lines = [
        "GET /v1/ws HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: trunkline.v1.json",
    ];
    let mut request = String::new();
    for line in lines {
        if let Some(line) = change(line) {
            request += &format!("{line}\r\n");
        }
    }
    // Behind the head a Close frame, so that the gateway ends an upgraded connection too.
    [request.as_bytes(), b"\r\n\x88\x80\x01\x02\x03\x04"].concat()
}

/// Returns the upgrade with the line that begins with `line` changed to `new`, or without it.
fn with(line: &str, new: &str) -> Vec<u8> {
    request(|old| match old.starts_with(line) {
        true if new.is_empty() => None,
        true => Some(new.to_owned()),
        false => Some(old.to_owned()),
    })
}

#[test]
fn requests_that_are_no_upgrade_of_ours() {
    let gateway = Gateway::start();
    let mut neighbours = Neighbours::of(&gateway, "handshake");
    let long = format!("Host: 127.0.0.1\r\nX-Long: {}", "x".repeat(9_000));
    let cases = [
        (with("GET", "GET / HTTP/1.1"), 404),
        (with("GET", "GET /v1/wsx HTTP/1.1"), 404),
        (with("GET", "GET /v2/ws HTTP/1.1"), 404),
        (with("GET", "POST /v1/ws HTTP/1.1"), 405),
        (with("GET", "GET /v1/ws HTTP/1.0"), 400),
        (with("Host", ""), 400),
        (with("Host", "Host: a\r\nHost: b"), 400),
        (with("Host", &long), 431),
        (with("Upgrade", ""), 426),
        (with("Upgrade", "Upgrade: h2c"), 426),
        (with("Connection", ""), 400),
        (with("Connection", "Connection: keep-alive"), 400),
        (
            with("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
            426,
        ),
        (with("Sec-WebSocket-Version", ""), 426),
        (with("Sec-WebSocket-Key", ""), 400),
        (with("Sec-WebSocket-Key", "Sec-WebSocket-Key: short"), 400),
        (
            with(
                "Sec-WebSocket-Key",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
            ),
            400,
        ),
        (
            with("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqtt"),
            400,
        ),
        (b"GET /v1/ws HTTP/1.1\r\nbroken\r\n\r\n".to_vec(), 400),
        // A body: what stands behind the head is never read as frames.
        (with("Host", "Host: 127.0.0.1\r\nContent-Length: 6"), 400),
        (with("Host", "Host: 127.0.0.1\r\nContent-Length: 0, 6"), 400),
        (
            with("Host", "Host: 127.0.0.1\r\nTransfer-Encoding: chunked"),
            400,
        ),
        (
            with(
                "Host",
                "Host: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 6",
            ),
            400,
        ),
        (with("Host", "Host: 127.0.0.1\r\nExpect: 100-continue"), 417),
        (with("Host", "Host: 127.0.0.1\r\nX-Folded: a\r\n b"), 400),
        (with("Host", "Host: 127.0.0.1\nContent-Length: 6"), 400),
        (with("Host", "Host : 127.0.0.1"), 400),
        (with("Host", "Host: 127.0.0.1\r\nX: a\0b"), 400),
        (
            with(
                "Sec-WebSocket-Version",
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13",
            ),
            400,
        ),
        (with("GET", "GET http://a@127.0.0.1/v1/ws HTTP/1.1"), 400),
        (with("GET", "GET http://127.0.0.1/v1/wsx HTTP/1.1"), 404),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            400,
        ),
    ];
    for (request, status) in &cases {
        let Answer {
            status: found,
            head,
            body,
        } = exchange(gateway.ws(), request);
        let text = String::from_utf8_lossy(request);
        assert_eq!(found, *status, "{text}: {head}");
        assert!(head.contains("Connection: close"), "{head}");
        assert!(body.len() > 10, "it says what to do: {body:?}");
        let offers =
            head.contains("Sec-WebSocket-Version: 13") && head.contains("Upgrade: websocket");
        assert_eq!(offers, *status == 426, "{head}");
        neighbours.chat();
    }
    let rejected = gateway.metric("trunkline_rejected_handshakes_total");
    assert_eq!(rejected, cases.len() as f64);
}

#[test]
fn upgrades() {
    let gateway = Gateway::start();
    let ours = |names: &str| {
        with(
            "Sec-WebSocket-Protocol",
            &format!("Sec-WebSocket-Protocol: {names}"),
        )
    };
    let cases = [
        (
            request(|line| Some(line.to_owned())),
            Some("trunkline.v1.json"),
        ),
        (
            with("GET", "GET /v1/ws?app=web HTTP/1.1"),
            Some("trunkline.v1.json"),
        ),
        (
            with(
                "Connection",
                "Connection: keep-alive\r\nConnection: x, UPGRADE",
            ),
            Some("trunkline.v1.json"),
        ),
        (
            with("GET", "GET http://127.0.0.1/v1/ws HTTP/1.1"),
            Some("trunkline.v1.json"),
        ),
        (
            with("Host", "Host: localhost\r\nContent-Length: 0"),
            Some("trunkline.v1.json"),
        ),
        (
            with("Upgrade", "upgrade: WebSocket"),
            Some("trunkline.v1.json"),
        ),
        (
            ours("mqtt, trunkline.v1.proto, trunkline.v1.json"),
            Some("trunkline.v1.proto"),
        ),
        (
            ours("trunkline.v1.json,trunkline.v1.proto"),
            Some("trunkline.v1.json"),
        ),
        (
            ours("mqtt\r\nSec-WebSocket-Protocol: trunkline.v1.proto"),
            Some("trunkline.v1.proto"),
        ),
        (ours(""), None),
        (with("Sec-WebSocket-Protocol", ""), None),
    ];
    for (request, protocol) in cases {
        let text = String::from_utf8_lossy(&request).into_owned();
        let head = trunkline_tests::http::upgrade(gateway.ws(), &request);
        assert!(head.starts_with("HTTP/1.1 101 "), "{text}: {head}");
        // The example of RFC 6455, section 1.3.
        assert!(
            head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "{head}"
        );
        let named = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(named, protocol, "{text}");
    }
}

#[test]
fn a_request_in_pieces() {
    use std::io::{Read, Write};
    let gateway = Gateway::start();
    let request = request(|line| Some(line.to_owned()));
    let mut stream = std::net::TcpStream::connect(gateway.ws()).expect("the gateway listens");
    stream.set_nodelay(true).expect("a TCP option");
    for piece in request.chunks(3) {
        stream.write_all(piece).expect("the gateway reads");
    }
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("an answer, then the end");
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    assert!(
        answer.ends_with(b"\x88\x02\x03\xe8"),
        "the answer to our Close: {answer:02x?}"
    );
}

/// Nothing behind a request that was refused is read as a request, nor behind an upgrade.
#[test]
fn a_second_request_is_none() {
    let gateway = Gateway::start();
    let second = request(|line| Some(line.to_owned()));
    let refused = b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let smuggled = with("Host", "Host: localhost\r\nContent-Length: 6");
    for first in [&refused[..], &smuggled] {
        let answer = exchange(gateway.ws(), &[first, &second].concat());
        assert!(matches!(answer.status, 400 | 426), "{answer:?}");
        assert!(!answer.body.contains("HTTP/1.1"), "one answer: {answer:?}");
    }
    let head = "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: \
        Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
        dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // As a frame a letter has a reserved bit and no mask: 1002.
    let mut stream = std::net::TcpStream::connect(gateway.ws()).expect("the gateway listens");
    let both = [head.as_bytes(), &second].concat();
    std::io::Write::write_all(&mut stream, &both).expect("the gateway reads");
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
    let text = String::from_utf8_lossy(&answer);
    assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
    let closed = gateway.metric("trunkline_closes_total{code=\"1002\"}");
    assert_eq!(closed, 1.0, "{text}");
}
