//! Web pages of other origins are refused, and so are names that lead to this machine (DNS
//! rebinding).

use std::net::SocketAddr;

use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http::{exchange, upgrade};
use trunkline_tests::tokens::Signer;

/// Returns the HTTP status of an upgrade at a path with further header lines.
fn status(ws: SocketAddr, path: &str, lines: &str) -> u16 {
    let request = format!(
        "GET {path} HTTP/1.1\r\n{lines}Upgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let head = upgrade(ws, request.as_bytes());
    head.get(9..12)
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("{head}"))
}

fn check(gateway: &Gateway, cases: &[(&str, &str, u16)]) {
    for path in ["/v1/ws", "/v1/echo"] {
        for (host, origin, expected) in cases {
            let host = host.replace("PORT", &gateway.ws().port().to_string());
            let origin = match *origin {
                "" => String::new(),
                origin => format!("Origin: {origin}\r\n"),
            };
            let lines = format!("Host: {host}\r\n{origin}");
            assert_eq!(
                status(gateway.ws(), path, &lines),
                *expected,
                "{path} {lines}"
            );
        }
    }
}

#[test]
fn in_development_only_pages_of_this_machine() {
    let gateway = Gateway::start();
    let cases = [
        ("127.0.0.1:PORT", "", 101),
        ("localhost:PORT", "", 101),
        ("[::1]:PORT", "", 101),
        ("localhost", "http://localhost:3000", 101),
        ("localhost", "https://LocalHost", 101),
        ("127.0.0.1:PORT", "http://127.0.0.1:8000", 101),
        ("127.0.0.1:PORT", "http://[::1]:8000", 101),
        ("127.0.0.1:PORT", "https://evil.example", 403),
        ("127.0.0.1:PORT", "null", 403),
        ("127.0.0.1:PORT", "http://127.0.0.1@evil.example", 403),
        ("127.0.0.1:PORT", "http://127.0.0.1.evil.example", 403),
        (
            "127.0.0.1:PORT",
            "http://localhost\r\nOrigin: http://localhost",
            403,
        ),
        ("evil.example:PORT", "", 403),
        ("evil.example:PORT", "http://evil.example:PORT", 403),
        ("evil.example:PORT", "http://localhost", 403),
    ];
    check(&gateway, &cases);
    let refused = 2 * cases.iter().filter(|case| case.2 == 403).count();
    for name in [
        "trunkline_limited_total{limit=\"origins\"}",
        "trunkline_rejected_handshakes_total",
    ] {
        assert_eq!(gateway.metric(name), refused as f64, "{name}");
    }
    // It says which setting allows it, and the connection ends.
    let request = b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nUpgrade: \
        websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
        dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nGET /v1/ws HTTP/1.1\r\n\r\n";
    let answer = exchange(gateway.ws(), request);
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("allowed_origins"), "{answer:?}");
    assert!(answer.head.contains("Connection: close"), "{answer:?}");
}

#[test]
fn others_where_a_setting_allows_them() {
    let list = "https://app.example.com, http://lab.example:8080";
    let gateway = Setup::default().flag("allowed-origins", list).start();
    check(
        &gateway,
        &[
            ("127.0.0.1:PORT", "https://APP.example.com:443", 101),
            ("127.0.0.1:PORT", "http://lab.example:8080", 101),
            ("127.0.0.1:PORT", "http://localhost", 101),
            ("lab.example:PORT", "", 101),
            ("127.0.0.1:PORT", "http://lab.example", 403),
            ("127.0.0.1:PORT", "http://app.example.com", 403),
            ("evil.example:PORT", "https://app.example.com", 403),
        ],
    );
    let any = Setup::default().environment("TRUNKLINE_ALLOWED_ORIGINS", "*");
    check(
        &any.start(),
        &[
            ("evil.example:PORT", "https://evil.example", 101),
            ("127.0.0.1:PORT", "null", 101),
        ],
    );
}

#[test]
fn with_tokens_pages_of_the_same_host() {
    let signer = Signer::hmac();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let key = signer.write(folder.path(), "key");
    let setup = Setup::default().tokens(&signer, &key);
    let gateway = setup
        .flag("allowed-origins", "https://app.example.com")
        .start();
    for (host, origin, expected) in [
        ("gw.example:7700", "", 101),
        ("gw.example:7700", "https://gw.example", 101),
        ("gw.example", "http://GW.example:7702", 101),
        ("gw.example", "https://app.example.com", 101),
        ("gw.example", "https://evil.example", 403),
        ("gw.example", "http://localhost", 403),
        ("gw.example", "null", 403),
    ] {
        let origin = match origin {
            "" => String::new(),
            origin => format!("Origin: {origin}\r\n"),
        };
        let lines = format!("Host: {host}\r\n{origin}");
        assert_eq!(status(gateway.ws(), "/v1/ws", &lines), expected, "{lines}");
    }
}

/// No page in a browser can read the control port, which has no passwords.
#[test]
fn the_control_port_is_read_by_no_page() {
    let gateway = Gateway::start();
    let port = gateway.control().port();
    let mut refused = 0;
    for path in ["/metrics", "/healthz", "/readyz", "/", "/nothing"] {
        for (first, lines, expected) in [
            (path, format!("Host: 127.0.0.1:{port}\r\n"), 200),
            (path, "Host: LOCALHOST\r\n".into(), 200),
            (
                path,
                "Host: localhost\r\nOrigin: http://[::1]:9090\r\n".into(),
                200,
            ),
            (path, format!("Host: evil.example:{port}\r\n"), 403),
            (
                path,
                "Host: localhost\r\nOrigin: https://evil.example\r\n".into(),
                403,
            ),
            (path, "Host: localhost\r\nOrigin: null\r\n".into(), 403),
            (
                &format!("http://evil.example{path}"),
                "Host: localhost\r\n".into(),
                403,
            ),
            (path, String::new(), 400),
            (path, "Host: a\r\nHost: b\r\n".into(), 400),
            (path, "Host: a b\r\n".into(), 400),
        ] {
            let request = format!("GET {first} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n");
            let answer = exchange(gateway.control(), request.as_bytes());
            let expected = if path == "/nothing" && expected == 200 {
                404
            } else {
                expected
            };
            assert_eq!(answer.status, expected, "{request}{answer:?}");
            let cors = answer.head.to_ascii_lowercase().contains("access-control");
            assert!(!cors, "{answer:?}");
            refused += u32::from(matches!(expected, 400 | 403));
        }
    }
    let counted = gateway.metric("trunkline_control_refused_total{reason=\"origin\"}");
    assert_eq!(counted, f64::from(refused));
    // No browser speaks HTTP/1.0.
    let old = b"GET /readyz HTTP/1.0\r\n\r\n";
    let mut stream = std::net::TcpStream::connect(gateway.control()).expect("it listens");
    std::io::Write::write_all(&mut stream, old).expect("it reads");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let allowed = Setup::default().flag("allowed-origins", "http://ops.example");
    let request = b"GET /readyz HTTP/1.1\r\nHost: ops.example\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(allowed.start().control(), request).status, 200);
}
