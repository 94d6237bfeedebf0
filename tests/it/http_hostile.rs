//! Hostile HTTP at the client API: bodies that do not end, requests hidden in others, many at a time, and
//! tokens that are none.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};
use trunkline_tests::api::{Api, problem};
use trunkline_tests::gateway::{Gateway, Setup};
use trunkline_tests::http;
use trunkline_tests::service::Service;
use trunkline_tests::tokens::{Signer, claims, claims_with, now};
use trunkline_tests::wait::{LIMIT, until};

/// What stands behind a request, and must not be taken for one.
pub(super) const HIDDEN: &str =
    "GET /hidden HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";

/// Requests of two meanings, or of none. HEAD is the beginning of a request, CHUNKED that of one whose body
/// comes in chunks, and LENGTH the length of what is hidden.
pub(super) const TWO_MEANINGS: [(&str, &str); 30] = [
    ("a size that is no number", "CHUNKEDx\r\n{}\r\n0\r\n\r\n"),
    ("a size with a sign", "CHUNKED+2\r\n{}\r\n0\r\n\r\n"),
    ("a negative size", "CHUNKED-2\r\n{}\r\n0\r\n\r\n"),
    ("a size with 0x", "CHUNKED0x2\r\n{}\r\n0\r\n\r\n"),
    (
        "a size beyond 64 bits",
        "CHUNKED10000000000000002\r\n{}\r\n0\r\n\r\n",
    ),
    ("no size", "CHUNKED\r\n{}\r\n0\r\n\r\n"),
    (
        "a chunk that is longer than its size",
        "CHUNKED1\r\n{}\r\n0\r\n\r\n",
    ),
    (
        "a chunk that is shorter than its size",
        "CHUNKED3\r\n{}\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "HEADContent-Length: 0\r\nContent-Length: LENGTH\r\n\r\n",
    ),
    ("a list of lengths", "HEADContent-Length: 0, LENGTH\r\n\r\n"),
    ("a length with a sign", "HEADContent-Length: +0\r\n\r\n"),
    ("a negative length", "HEADContent-Length: -1\r\n\r\n"),
    ("a length in hexadecimal", "HEADContent-Length: 0x0\r\n\r\n"),
    ("a length without digits", "HEADContent-Length: \r\n\r\n"),
    ("another coding", "HEADTransfer-Encoding: xchunked\r\n\r\n"),
    (
        "no coding at all",
        "HEADTransfer-Encoding: identity\r\n\r\n",
    ),
    (
        "chunks that are packed",
        "HEADTransfer-Encoding: chunked, gzip\r\n\r\n",
    ),
    (
        "a tab before the colon",
        "HEADTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a space before the colon", "HEADContent-Length : 0\r\n\r\n"),
    ("a folded line", "HEADX: a\r\n b\r\n\r\n"),
    ("a folded length", "HEADContent-Length:\r\n 0\r\n\r\n"),
    ("a line that begins with a space", "HEAD X: a\r\n\r\n"),
    ("a zero in a line", "HEADX: a\0b\r\n\r\n"),
    ("a lone CR in a line", "HEADX: a\rContent-Length: 2\r\n\r\n"),
    ("a line without a colon", "HEADX\r\n\r\n"),
    ("an empty name", "HEAD: a\r\n\r\n"),
    (
        "a space in the path",
        "GET /a b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ),
    (
        "another version",
        "GET / HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n",
    ),
    ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("TLS", "\x16\x03\x01\0\x05hello\r\n\r\n"),
];

/// Sends bytes and returns everything that comes until the gateway ends the connection.
fn said(gateway: &Gateway, bytes: &[u8]) -> String {
    said_by(gateway.http(), bytes)
}

/// Sends bytes to an address and returns everything that comes until the server ends the connection.
pub(super) fn said_by(server: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server).expect("the port is open");
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    // It may close before it has read all.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// Returns the number of requests to paths that there are not.
pub(super) fn others(gateway: &Gateway) -> f64 {
    gateway.metric("trunkline_http_requests_total{route=\"other\"}")
}

/// A proxy in front may see one request where the gateway would see two. All of these get 400 or no answer,
/// and nothing behind them is looked at.
#[test]
fn requests_of_two_meanings_are_refused() {
    let gateway = Setup::default().http().start();
    let head = "POST /api/v1/conversations HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Trunkline-User: a\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let length = HIDDEN.len();
    for (what, text) in TWO_MEANINGS {
        let text = text
            .replace("CHUNKED", &chunked)
            .replace("HEAD", head)
            .replace("LENGTH", &length.to_string());
        let all = said(&gateway, format!("{text}{HIDDEN}").as_bytes());
        let answers: Vec<_> = all.match_indices("HTTP/1.1 ").collect();
        assert!(answers.len() <= 1, "{what}: {all}");
        if let Some((at, _)) = answers.first() {
            let status = &all[at + 9..at + 12];
            assert_eq!(status, "400", "{what}: {all}");
        }
        assert_eq!(others(&gateway), 0.0, "{what}: {all}");
    }
    // Bytes of another coding are not read as if they were the body (RFC 9112, 6.1).
    for coding in [
        "gzip, chunked",
        "chunked, chunked",
        "chunked\r\nTransfer-Encoding: chunked",
    ] {
        let request =
            format!("{head}Transfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{HIDDEN}");
        let all = said(&gateway, request.as_bytes());
        assert!(all.starts_with("HTTP/1.1 501 "), "{coding}: {all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{coding}: {all}");
        assert_eq!(others(&gateway), 0.0, "{coding}: {all}");
    }
    // With a length and chunks, chunks count, and the connection ends behind them (RFC 9112, 6.1).
    for (lines, answers) in [
        (
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            1,
        ),
        (
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
            1,
        ),
        ("Transfer-Encoding: Chunked\r\n".to_owned(), 2),
    ] {
        let next = HIDDEN.replace("/hidden", "/openapi.json");
        let request = format!("{head}{lines}\r\n2\r\n{{}}\r\n0\r\n\r\n{next}");
        let all = said(&gateway, request.as_bytes());
        assert!(all.starts_with("HTTP/1.1 200 "), "{lines}: {all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), answers, "{lines}: {all}");
    }
    assert_eq!(others(&gateway), 0.0);
    Api::of(&gateway)
        .user("alice")
        .post("conversations", &json!({}));
}

#[test]
fn bodies_without_end_end() {
    let gateway = Setup::default().http().flag("http-timeout", "2s").start();
    let head = "POST /api/v1/send HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Trunkline-User: a\r\n";
    // It is refused before it comes.
    let all = said(
        &gateway,
        format!("{head}Content-Length: 99999999\r\n\r\n").as_bytes(),
    );
    assert!(all.starts_with("HTTP/1.1 413 "), "{all}");
    let mut endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..20 {
        endless.extend_from_slice(b"10000\r\n");
        endless.extend_from_slice(&[b' '; 0x10000]);
        endless.extend_from_slice(b"\r\n");
    }
    let all = said(&gateway, &endless);
    assert!(all.starts_with("HTTP/1.1 413 "), "{all}");
    // A body that stops, and one that comes byte by byte.
    let late = || gateway.metric("trunkline_http_refused_total{reason=\"time\"}");
    let half = format!("{head}Content-Length: 100\r\n\r\n{{\"user\"");
    let all = said(&gateway, half.as_bytes());
    assert!(!all.contains("HTTP/1.1 200"), "{all}");
    let mut drops = TcpStream::connect(gateway.http()).expect("the port is open");
    drops
        .write_all(format!("{head}Content-Length: 100000\r\n\r\n").as_bytes())
        .expect("it is read");
    until("a slow body to be dropped", || {
        (drops.write_all(b" ").is_err() || late() >= 2.0).then_some(())
    });
    assert_eq!(gateway.metric("trunkline_http_body_bytes"), 0.0);
    Api::of(&gateway)
        .user("alice")
        .post("conversations", &json!({}));
}

#[test]
fn pipelined_requests_are_answered_in_their_order_and_a_few_at_a_time() {
    const COUNT: usize = 500;
    let gateway = Setup::default()
        .http()
        .flag("user-rate-commands", 0)
        .start();
    let mut many = String::new();
    for number in 0..COUNT {
        let close = if number + 1 == COUNT {
            "Connection: close\r\n"
        } else {
            ""
        };
        let body = json!({"user": "bob", "text": number.to_string()}).to_string();
        many.push_str(&format!(
            "POST /api/v1/send HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Trunkline-User: alice\r\n{close}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    let all = said(&gateway, many.as_bytes());
    assert_eq!(all.matches("HTTP/1.1 200 ").count(), COUNT, "{all}");
    let order: Vec<_> = all.split("\"seq\":").skip(1).collect();
    for (number, answer) in order.iter().enumerate() {
        let expected = format!("{},", number + 1);
        assert!(answer.starts_with(&expected), "{number}: {answer}");
    }
}

#[test]
fn tokens_that_are_none_get_401() {
    let signer = Signer::edwards();
    let service = Service::new(signer, Setup::http);
    let gateway = &service.gateway;
    let good = service.signer.sign(&claims("alice"));
    let unsigned = |head: &Value| service.signer.sign_as(head, &claims("alice"));
    let (body, signature) = good.rsplit_once('.').expect("three parts");
    let (head, content) = body.split_once('.').expect("three parts");
    let forged = Signer::edwards().sign(&claims("alice"));
    let with = |others: Value| service.signer.sign(&claims_with("alice", others));
    let refused = [
        ("another key", forged),
        ("no signature", format!("{body}.")),
        ("two parts", body.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        (
            "the signature of another text",
            format!("{head}.{content}x.{signature}"),
        ),
        ("no algorithm", unsigned(&json!({"alg": "none"}))),
        ("a secret's algorithm", unsigned(&json!({"alg": "HS256"}))),
        ("not base64", format!("{head}.{content}.=")),
        ("no user", with(json!({"sub": null}))),
        ("a user who is a number", with(json!({"sub": 7}))),
        ("a bad name", with(json!({"sub": "a b"}))),
        ("no end", with(json!({"exp": null}))),
        ("an end that is text", with(json!({"exp": "later"}))),
        ("too long", with(json!({"x": "y".repeat(20_000)}))),
    ];
    let ask = |api: Api| api.ask("POST", "/api/v1/conversations", None);
    for (what, token) in refused {
        let answer = ask(Api::of(gateway).token(&token));
        assert!(matches!(answer.status, 401 | 431), "{what}: {answer:?}");
    }
    let old = ask(Api::of(gateway).token(&with(json!({"exp": now() - 100}))));
    assert_eq!(problem(&old), (401, 109));
    let early = ask(Api::of(gateway).token(&with(json!({"nbf": now() + 1_000}))));
    assert_eq!(early.status, 401);
    for line in [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Token x",
        "Bearer a b",
        "",
    ] {
        let answer = ask(Api::of(gateway).header("Authorization", line));
        assert_eq!(problem(&answer), (401, 101), "{line:?}");
    }
    // Two headers: it is not said which of them counts.
    let twice = ask(Api::of(gateway).token(&good).token(&good));
    assert_eq!(problem(&twice), (400, 107));
    let odd = b"POST /api/v1/conversations HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer \xff\xfe\r\n\
                Content-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(http::exchange(gateway.http(), odd).status, 400);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let line = format!("{scheme} {good}");
        assert_eq!(
            ask(Api::of(gateway).header("Authorization", &line)).status,
            200
        );
    }
    let log = gateway.process().stderr();
    assert!(!log.contains(signature), "{log}");
}
