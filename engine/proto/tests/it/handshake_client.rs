//! The client's side of the upgrade.

use trunkline_proto::Encoding;
use trunkline_proto::handshake::{
    ResponseError, key_from, parse_request, parse_response, write_request,
};

use crate::handshake::{ACCEPT, KEY};

const LINES: [&str; 5] = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    "Sec-WebSocket-Protocol: trunkline.v1.json",
];

/// Returns the good answer with the line that starts like `replaced` replaced by these lines.
fn answer(replaced: &str, with: &[&str]) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in LINES {
        match line.starts_with(replaced) {
            true => lines.extend(with),
            false => lines.push(line),
        }
    }
    lines
        .iter()
        .map(|line| format!("{line}\r\n"))
        .collect::<String>()
        + "\r\n"
}

fn parse(answer: &str) -> Result<Option<usize>, ResponseError> {
    parse_response(answer.as_bytes(), KEY, Encoding::Json)
}

#[test]
fn client_and_server_agree() {
    for encoding in [Encoding::Json, Encoding::Proto] {
        let key = key_from([0xa7; 16]);
        let mut request = Vec::new();
        write_request(
            &mut request,
            "chat.example.com:8080",
            "/v1/ws",
            &key,
            encoding,
        );
        let Ok(Some((upgrade, size))) = parse_request(&request, request.len()) else {
            panic!("{}", String::from_utf8_lossy(&request));
        };
        assert_eq!((size, upgrade.encoding), (request.len(), encoding));
        assert_eq!(upgrade.path, "/v1/ws");
        let mut answer = Vec::new();
        upgrade.accept(&mut answer);
        let size = answer.len();
        for cut in 0..size {
            let parsed = parse_response(&answer[..cut], &key, encoding);
            assert!(matches!(parsed, Ok(None)), "cut at {cut}: {parsed:?}");
        }
        answer.extend_from_slice(b"\x81\x02hi");
        let parsed = parse_response(&answer, &key, encoding);
        assert!(matches!(parsed, Ok(Some(s)) if s == size), "{parsed:?}");
        // A client that asked for the other encoding, or sent another key, must refuse the answer.
        let other = match encoding {
            Encoding::Json => Encoding::Proto,
            Encoding::Proto => Encoding::Json,
        };
        assert!(parse_response(&answer, &key, other).is_err());
        assert!(parse_response(&answer, &key_from([0; 16]), encoding).is_err());
    }
}

#[test]
fn keys() {
    assert_eq!(key_from(*b"the sample nonce"), KEY);
}

#[test]
fn good_answers() {
    for (replaced, with) in [
        ("none", &[][..]),
        ("Upgrade", &["upgrade: WebSocket"]),
        (
            "Connection",
            &["Connection: keep-alive", "connection: upgrade"],
        ),
        ("HTTP", &["HTTP/1.1 101 "]),
    ] {
        let answer = answer(replaced, with);
        let parsed = parse(&answer);
        assert!(
            matches!(parsed, Ok(Some(size)) if size == answer.len()),
            "{parsed:?}"
        );
    }
}

#[test]
fn bad_answers() {
    let twice = format!("Sec-WebSocket-Accept: {ACCEPT}");
    for (replaced, with, header) in [
        ("Upgrade", &[][..], "Upgrade"),
        ("Upgrade", &["Upgrade: h2c"], "Upgrade"),
        ("Connection", &[], "Connection"),
        ("Connection", &["Connection: close"], "Connection"),
        ("Sec-WebSocket-Accept", &[], "Sec-WebSocket-Accept"),
        (
            "Sec-WebSocket-Accept",
            &[&twice, &twice],
            "Sec-WebSocket-Accept",
        ),
        (
            "Sec-WebSocket-Accept",
            &["Sec-WebSocket-Accept: S3PPLMBITXAQ9KYGZZHZRBK+XOO="],
            "Sec-WebSocket-Accept",
        ),
        ("Sec-WebSocket-Protocol", &[], "Sec-WebSocket-Protocol"),
        (
            "Sec-WebSocket-Protocol",
            &["Sec-WebSocket-Protocol: trunkline.v1.proto"],
            "Sec-WebSocket-Protocol",
        ),
        (
            "Upgrade",
            &[
                "Upgrade: websocket",
                "Sec-WebSocket-Extensions: permessage-deflate",
            ],
            "Sec-WebSocket-Extensions",
        ),
    ] {
        match parse(&answer(replaced, with)) {
            Err(ResponseError::Header(named)) => assert_eq!(named, header, "{with:?}"),
            other => panic!("{with:?}: {other:?}"),
        }
    }
    for (line, status) in [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.1 404 Not Found", 404),
        ("HTTP/1.1 503 Service Unavailable", 503),
    ] {
        let parsed = parse(&answer("HTTP", &[line]));
        assert!(
            matches!(parsed, Err(ResponseError::Status(s)) if s == status),
            "{parsed:?}"
        );
    }
    for line in ["HTTP/1.0 101 Switching Protocols", "SSH-2.0-x"] {
        let parsed = parse(&answer("HTTP", &[line]));
        assert!(
            matches!(parsed, Err(ResponseError::NotHttp(_))),
            "{parsed:?}"
        );
    }
}
