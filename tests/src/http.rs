//! Speaks HTTP with a gateway's control port.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::LIMIT;

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Connects, sends a request as bytes, and reads the whole answer.
///
/// # Panics
/// No HTTP answer comes.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    exchange_on(
        TcpStream::connect(address).expect("the port is open"),
        request,
    )
}

/// Sends a request as bytes on an open connection, and reads the whole answer.
///
/// # Panics
/// No HTTP answer comes.
pub fn exchange_on(mut stream: TcpStream, request: &[u8]) -> Answer {
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    stream.write_all(request).expect("the server reads");
    let mut answer = Vec::new();
    // A server that answers before it has read all of a request resets the connection behind its
    // answer.
    let ended = stream
        .read_to_end(&mut answer)
        .map_err(|error| error.kind());
    assert!(
        matches!(ended, Ok(_) | Err(ErrorKind::ConnectionReset)),
        "{ended:?}: {answer:?}"
    );
    let answer = String::from_utf8(answer).expect("the answer is text");
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some(Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    });
    parsed.unwrap_or_else(|| panic!("no HTTP: {answer:?}"))
}

/// Sends an upgrade request and returns the head of the answer.
///
/// # Panics
/// No answer comes.
pub fn upgrade(address: SocketAddr, request: &[u8]) -> String {
    let stream = TcpStream::connect(address).expect("the port is open");
    upgrade_on(stream, request)
}

/// Sends an upgrade request on an open connection, and returns the head of the answer.
///
/// # Panics
/// No answer comes.
pub fn upgrade_on(mut stream: TcpStream, request: &[u8]) -> String {
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    stream.write_all(request).expect("the server reads");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("the head of an answer");
        answer.push(byte[0]);
    }
    String::from_utf8(answer).expect("the head is text")
}

/// Gets a path.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    exchange(address, request.as_bytes())
}

/// Reads one number of `/metrics` by its name and labels.
///
/// # Panics
/// `/metrics` has no such number.
pub fn metric(control: SocketAddr, name: &str) -> f64 {
    let Answer { status, body, .. } = get(control, "/metrics");
    assert_eq!(status, 200, "{body}");
    let line = body
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| panic!("/metrics has no {name}:\n{body}"))
}
