//! The control port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::LIMIT;

/// Sends bytes, reads all that comes back: the status and the body of the answer.
///
/// # Panics
/// No HTTP answer comes.
pub fn exchange(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(LIMIT)).expect("not zero");
    stream.write_all(request).expect("the server reads");
    let mut answer = Vec::new();
    // A server that answers before it has read all of a request resets the connection behind its
    // answer.
    let ended = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).expect("the answer is text");
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parsed.unwrap_or_else(|| panic!("no HTTP: {answer:?} ({ended:?})"))
}

/// GET of a path.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    exchange(address, request.as_bytes())
}

/// A number of /metrics by its name with labels.
///
/// # Panics
/// There is no such number.
pub fn metric(control: SocketAddr, name: &str) -> f64 {
    let (status, text) = get(control, "/metrics");
    assert_eq!(status, 200, "{text}");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| panic!("/metrics has no {name}:\n{text}"))
}
