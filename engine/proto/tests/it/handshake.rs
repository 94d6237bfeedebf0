//! The server's side of the upgrade.

use trunkline_proto::Encoding;
use trunkline_proto::handshake::{Rejection, Upgrade, parse_request};

const MAX: usize = 8_192;

/// The key and the answer to it that RFC 6455 §1.3 works out.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The lines of a good request without a sub-protocol.
const LINES: [&str; 6] = [
    "GET /v1/ws HTTP/1.1",
    "Host: chat.example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

fn head(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| format!("{line}\r\n"))
        .collect::<String>()
        + "\r\n"
}

/// Returns the good request with the line that starts like `replaced` replaced by these lines.
fn request(replaced: &str, with: &[&str]) -> String {
    let mut lines = Vec::new();
    for line in LINES {
        match line.starts_with(replaced) && !replaced.is_empty() {
            true => lines.extend(with),
            false => lines.push(line),
        }
    }
    if replaced.is_empty() {
        lines.extend(with);
    }
    head(&lines)
}

fn response(write: impl Fn(&mut Vec<u8>)) -> String {
    let mut out = b"before".to_vec();
    write(&mut out);
    let out = String::from_utf8(out).unwrap();
    out.strip_prefix("before")
        .expect("responses are appended")
        .to_owned()
}

#[track_caller]
fn accepted(request: &str) -> Upgrade {
    match parse_request(request.as_bytes(), MAX) {
        Ok(Some((upgrade, size))) => {
            assert_eq!(size, request.len());
            upgrade
        }
        other => panic!("{request}{other:?}"),
    }
}

#[test]
fn the_sample_of_the_rfc() {
    let upgrade = accepted(&head(&LINES));
    assert_eq!(upgrade.path, "/v1/ws");
    assert_eq!(
        response(|out| upgrade.accept(out)),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        )
    );
}

#[test]
fn forms_of_a_good_request() {
    for (replaced, with) in [
        (
            "Connection",
            &["Connection: keep-alive", "Connection: Upgrade"][..],
        ),
        ("Connection", &["connection: keep-alive, UPGRADE"]),
        ("Connection", &["CONNECTION:upgrade,,close"]),
        ("Upgrade", &["upgrade: h2c, WebSocket"]),
        ("Upgrade", &["Upgrade: h2c", "Upgrade: websocket"]),
        ("Host", &["host:   [::1]:8080  "]),
        ("GET", &["GET http://chat.example.com/v1/ws HTTP/1.1"]),
        ("GET", &["GET /v1/ws?token=x HTTP/1.1"]),
        (
            "",
            &[
                "Origin: null",
                "Sec-WebSocket-Extensions: permessage-deflate",
            ],
        ),
    ] {
        let upgrade = accepted(&request(replaced, with));
        assert_eq!(
            (&*upgrade.path, upgrade.encoding),
            ("/v1/ws", Encoding::Json)
        );
        let answer = response(|out| upgrade.accept(out));
        assert!(answer.contains(ACCEPT), "{answer}");
        assert!(
            !answer.contains("Extensions"),
            "none is negotiated: {answer}"
        );
    }
    assert_eq!(
        accepted(&request("GET", &["GET /else HTTP/1.1"])).path,
        "/else"
    );
}

#[test]
fn sub_protocol_choice() {
    let (json, proto) = ("trunkline.v1.json", "trunkline.v1.proto");
    for (lines, encoding, named) in [
        (&[][..], Encoding::Json, None),
        (&["Sec-WebSocket-Protocol: "], Encoding::Json, None),
        (
            &["Sec-WebSocket-Protocol: trunkline.v1.json"],
            Encoding::Json,
            Some(json),
        ),
        (
            &["Sec-WebSocket-Protocol: trunkline.v1.proto"],
            Encoding::Proto,
            Some(proto),
        ),
        (
            &["sec-websocket-protocol: chat, trunkline.v1.proto ,trunkline.v1.json"],
            Encoding::Proto,
            Some(proto),
        ),
        (
            &[
                "Sec-WebSocket-Protocol: chat",
                "Sec-WebSocket-Protocol: trunkline.v1.json",
            ],
            Encoding::Json,
            Some(json),
        ),
    ] {
        let upgrade = accepted(&request("", lines));
        assert_eq!(upgrade.encoding, encoding, "{lines:?}");
        let answer = response(|out| upgrade.accept(out));
        let line = answer
            .split("\r\n")
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(line, named, "{lines:?}");
    }
}

#[test]
fn a_head_cut_at_every_byte_is_incomplete() {
    let request = head(&LINES);
    for cut in 0..request.len() {
        let parsed = parse_request(&request.as_bytes()[..cut], MAX);
        assert_eq!(parsed, Ok(None), "cut at {cut}");
    }
    // What follows the head are frames, not ours to look at.
    for behind in [&b"\x81\x80\0\0\0\0"[..], b"\r\n\r\nGET / HTTP/1.1"] {
        let bytes = [request.as_bytes(), behind].concat();
        match parse_request(&bytes, MAX) {
            Ok(Some((_, size))) => assert_eq!(size, request.len()),
            other => panic!("{other:?}"),
        }
    }
}

#[track_caller]
fn rejected(request: &str, status: u16) -> String {
    match parse_request(request.as_bytes(), MAX) {
        Err(rejection) => {
            assert_eq!(rejection.status, status, "{request}{rejection:?}");
            check_rejection(&rejection)
        }
        other => panic!("{request}{other:?}"),
    }
}

/// A rejection is a whole HTTP response that ends the connection and says what is wrong.
#[track_caller]
fn check_rejection(rejection: &Rejection) -> String {
    let answer = response(|out| rejection.response(out));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with(&format!("HTTP/1.1 {} ", rejection.status)),
        "{answer}"
    );
    assert!(
        head.contains(&format!("\r\nContent-Length: {}", body.len())),
        "{answer}"
    );
    assert!(head.contains("\r\nConnection: close"), "{answer}");
    assert_eq!(body, format!("{}\n", rejection.message));
    answer
}

#[test]
fn rejections() {
    for (replaced, with, status) in [
        ("GET", &["nonsense"][..], 400),
        ("GET", &["GET /v1/ws HTTP/1.0"], 400),
        ("GET", &["GET /v1/ws HTTP/2.0"], 400),
        ("Connection", &[], 400),
        ("Connection", &["Connection: keep-alive"], 400),
        ("Connection", &["Connection: Upgraded"], 400),
        ("Host", &[], 400),
        ("Host", &["Host: a", "Host: b"], 400),
        ("Host", &["Host : a"], 400),
        ("Sec-WebSocket-Key", &[], 400),
        ("Sec-WebSocket-Key", &["Sec-WebSocket-Key: "], 400),
        (
            "Sec-WebSocket-Key",
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"],
            400,
        ),
        (
            "Sec-WebSocket-Key",
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWFh"],
            400,
        ),
        (
            "Sec-WebSocket-Key",
            &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!A=="],
            400,
        ),
        ("", &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], 400),
        ("", &["Sec-WebSocket-Protocol: chat"], 400),
        ("", &["Sec-WebSocket-Protocol: TRUNKLINE.V1.JSON"], 400),
        ("GET", &["POST /v1/ws HTTP/1.1"], 405),
        ("GET", &["HEAD /v1/ws HTTP/1.1"], 405),
        ("Upgrade", &[], 426),
        ("Upgrade", &["Upgrade: h2c"], 426),
        ("Sec-WebSocket-Version", &[], 426),
        ("Sec-WebSocket-Version", &["Sec-WebSocket-Version: 8"], 426),
        (
            "Sec-WebSocket-Version",
            &["Sec-WebSocket-Version: 13, 8"],
            426,
        ),
    ] {
        let answer = rejected(&request(replaced, with), status);
        if status == 405 {
            assert!(answer.contains("\r\nAllow: GET\r\n"), "{answer}");
        }
        if status == 426 {
            assert!(
                answer.contains("\r\nSec-WebSocket-Version: 13\r\n"),
                "{answer}"
            );
            assert!(answer.contains("\r\nUpgrade: websocket\r\n"), "{answer}");
            assert!(
                answer.contains("\r\nConnection: close, Upgrade\r\n"),
                "{answer}"
            );
        }
    }
    for rejection in [Rejection::NOT_FOUND, Rejection::UNAVAILABLE] {
        check_rejection(&rejection);
    }
    assert_eq!(Rejection::NOT_FOUND.status, 404);
    assert_eq!(Rejection::UNAVAILABLE.status, 503);
}

#[test]
fn not_http_is_rejected_early() {
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"\x81\x85abcd",
        b"SSH-2.0-x\r\n",
    ] {
        let status = parse_request(bytes, MAX).map_err(|rejection| rejection.status);
        assert_eq!(status, Err(400), "{bytes:?}");
    }
}

#[test]
fn the_size_of_a_head_is_limited() {
    let request = head(&LINES);
    let status = |bytes: &str, max| {
        parse_request(bytes.as_bytes(), max)
            .map(|parsed| parsed.is_some())
            .map_err(|rejection| rejection.status)
    };
    assert_eq!(status(&request, request.len()), Ok(true));
    assert_eq!(status(&request, request.len() - 1), Err(431));
    // Not even its end need have arrived.
    assert_eq!(status(&request[..100], 101), Ok(false));
    assert_eq!(status(&request[..100], 100), Err(431));
    // Bytes behind the head do not count.
    let more = request.clone() + &"x".repeat(1_000);
    assert_eq!(status(&more, request.len()), Ok(true));

    let header = vec!["X: y"; 118];
    assert_eq!(status(&self::request("", &header), MAX), Ok(true));
    let header = vec!["X: y"; 120];
    assert_eq!(status(&self::request("", &header), MAX), Err(431));
    rejected(&self::request("", &header), 431);
}
