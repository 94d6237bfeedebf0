//! Requests that two readers could understand differently, or that announce a body.

use trunkline_proto::handshake::parse_request;

const MAX: usize = 8_192;

/// Returns an upgrade with this request line, these lines more, and each line ended like this.
fn request(first: &str, more: &[&str], end: &str) -> Vec<u8> {
    let rest = [
        "Host: chat.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ];
    let replaced = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        more.iter()
            .any(|it| it.strip_prefix('!').is_some_and(|it| it.starts_with(name)))
    };
    let rest = rest.into_iter().filter(|line| !replaced(line));
    let more = more.iter().map(|line| line.trim_start_matches('!'));
    let lines = [first].into_iter().chain(rest).chain(more);
    let lines = lines.filter(|line| !line.is_empty());
    let text: String = lines.map(|line| format!("{line}{end}")).collect();
    (text + end).into_bytes()
}

fn status(request: &[u8]) -> u16 {
    match parse_request(request, MAX) {
        Ok(Some((_, size))) => {
            assert_eq!(size, request.len());
            101
        }
        Ok(None) => 0,
        Err(rejection) => rejection.status,
    }
}

const GET: &str = "GET /v1/ws HTTP/1.1";

/// Requests with additional header lines. A line with `!` in front replaces the usual line of that
/// name.
#[test]
fn lines() {
    for (more, expected) in [
        (&[][..], 101),
        // RFC 9112 §6: a body.
        (&["Content-Length: 0"], 101),
        (&["content-length:  000 "], 101),
        (&["Content-Length: 5"], 400),
        (&["Content-Length: 18446744073709551616"], 400),
        (&["Content-Length:"], 400),
        (&["Content-Length: -0"], 400),
        (&["Content-Length: +0"], 400),
        (&["Content-Length: 0x0"], 400),
        (&["Content-Length: 0 0"], 400),
        (&["Content-Length: 0, 0"], 400),
        (&["Content-Length: 0,5"], 400),
        (&["Content-Length: 0", "Content-Length: 0"], 400),
        (&["Content-Length: 0", "Content-Length: 7"], 400),
        (&["Transfer-Encoding: chunked"], 400),
        (&["Transfer-Encoding: identity"], 400),
        (&["Transfer-Encoding:"], 400),
        (&["transfer-encoding: \tchunked"], 400),
        (&["Transfer-Encoding: xchunked"], 400),
        (&["Transfer-Encoding: chunked", "Content-Length: 0"], 400),
        (&["Content-Length: 0", "Transfer-Encoding: chunked"], 400),
        // RFC 9112 §5: fields.
        (&["Transfer-Encoding : chunked"], 400),
        (&["Content-Length : 5"], 400),
        (&["X-Folded: a\r\n b"], 400),
        (&["X-Folded: a\r\n\tContent-Length: 5"], 400),
        (&[" X-First: a"], 400),
        (&["X-Bare: a\rb"], 400),
        (&["X-Bare: a\r\r"], 400),
        (&["X-Bare: a\nContent-Length: 5"], 400),
        (&["X-Nul: a\0b"], 400),
        (&["X-Control: a\x0bb"], 400),
        (&["X-Control: a\x7fb"], 400),
        (&["X-Tab: a\tb", "X-Empty:"], 101),
        (&[": a"], 400),
        (&["X\0: a"], 400),
        (&["X(): a"], 400),
        (&["no colon"], 400),
        // RFC 9112 §3.2.
        (&["!Host:"], 400),
        (&["!Host: a b"], 400),
        (&["!Host: a@b"], 400),
        (&["!Host: a/b"], 400),
        (&["!Host: a:b"], 400),
        (&["!Host: a:99999"], 400),
        (&["!Host: a, b"], 400),
        (&["!Host: [::1"], 400),
        (&["!Host: [::1]x"], 400),
        (&["!Host: a..b"], 400),
        (&["Host: chat.example.com"], 400),
        (&["!Host: chat.example.com.:443"], 101),
        (&["!Host: [::1]:8080"], 101),
        (&["!Host: my_box:"], 101),
        // RFC 9110 §10.1.1.
        (&["Expect: 100-continue"], 417),
        (&["Expect: tea"], 417),
        // RFC 6455 §4.2.1 and §11.3.
        (&["Sec-WebSocket-Version: 13"], 400),
        (&["Sec-WebSocket-Version: 8"], 400),
        (&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], 400),
        (&["!Upgrade: websocket/13"], 426),
        (&["!Upgrade: notwebsocket"], 426),
        (&["!Upgrade: h2c, websocket"], 101),
        (&["!Connection: close, upgrade"], 101),
        (&["!Connection: upgrade-insecure"], 400),
    ] {
        assert_eq!(status(&request(GET, more, "\r\n")), expected, "{more:?}");
    }
}

#[test]
fn request_lines() {
    for (first, expected) in [
        ("GET http://chat.example.com/v1/ws HTTP/1.1", 101),
        ("GET HTTPS://chat.example.com:443/v1/ws?a=b HTTP/1.1", 101),
        ("GET ws://chat.example.com/v1/ws HTTP/1.1", 101),
        // The URL's host counts, not that of the Host line.
        ("GET http://a@b/v1/ws HTTP/1.1", 400),
        ("GET http:///v1/ws HTTP/1.1", 400),
        ("GET ftp://chat.example.com/v1/ws HTTP/1.1", 400),
        ("GET chat.example.com:80 HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("GET v1/ws HTTP/1.1", 400),
        ("GET /v1/ws#top HTTP/1.1", 400),
        ("GET /v1/w\u{17f} HTTP/1.1", 400),
        ("GET /v1/ws\0 HTTP/1.1", 400),
        ("GET  /v1/ws HTTP/1.1", 400),
        ("GET /v1/ws  HTTP/1.1", 400),
        ("GET\t/v1/ws HTTP/1.1", 400),
        (" GET /v1/ws HTTP/1.1", 400),
        ("GET /v1/ws", 400),
        ("GET /v1/ws HTTP/1.0", 400),
        ("GET /v1/ws HTTP/1.2", 400),
        ("GET /v1/ws HTTP/0.9", 400),
        ("GET /v1/ws http/1.1", 400),
        ("get /v1/ws HTTP/1.1", 405),
        ("CONNECT /v1/ws HTTP/1.1", 405),
    ] {
        assert_eq!(status(&request(first, &[], "\r\n")), expected, "{first}");
    }
    // An empty line before the request is passed over (RFC 9112 §2.2), a bare line feed is not.
    let good = request(GET, &[], "\r\n");
    assert_eq!(status(&[b"\r\n", &good[..]].concat()), 101);
    assert_eq!(status(&[b"\n", &good[..]].concat()), 400);
    assert_eq!(status(&request(GET, &[], "\n")), 400, "bare line feeds");
    assert_eq!(status(&request(GET, &["X: a\r\n\nX: b"], "\r\n")), 400);
}
