//! Reads a gateway's `/metrics` with an HTTP client of a few lines.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::Context;

/// Reads the text of `/metrics`.
///
/// # Errors
/// Nothing answers at the address.
pub fn text(control: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(control)?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Finds one number in the text of `/metrics`, by the name and labels of its line.
///
/// # Errors
/// The text has no such number.
pub fn number(text: &str, name: &str) -> anyhow::Result<f64> {
    let mut lines = text.lines();
    let number = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let number = number.with_context(|| format!("/metrics has no {name}"))?;
    number
        .trim()
        .parse()
        .with_context(|| format!("{name} is {number:?}"))
}
