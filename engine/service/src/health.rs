//! The command `health`: asks the control port of a running gateway.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The most time for the connection and the answer together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of an answer.
const ANSWER: u64 = 64 << 10;

/// Asks the control port at `control` whether the gateway works, or with `ready` whether it takes
/// messages. Returns what the gateway says.
///
/// # Errors
/// The gateway does not answer within 5 seconds, or says that it does not work. The text has what it
/// says.
pub(crate) fn ask(control: SocketAddr, ready: bool) -> anyhow::Result<String> {
    if control.port() == 0 {
        bail!(
            "the port of the control port is 0, so the gateway has picked a free one: give --control the address in its line \"ready\""
        );
    }
    let address = reachable(control);
    let path = if ready { "/readyz" } else { "/healthz" };
    let answer = exchange(address, path).with_context(|| {
        format!("the gateway does not answer at its control port {address}: look at its log, or give --control the address in its line \"ready\"")
    })?;
    let (status, body) = split(&answer).with_context(|| {
        format!("what answers at {address} is no control port of a gateway: give --control the address in the gateway's line \"ready\"")
    })?;
    let body = body.trim_end();
    match status {
        200 => Ok(format!("{body}\n")),
        _ => bail!("{path} says {status}: {body}"),
    }
}

/// Returns the address by which this machine reaches a port that listens on `control`.
fn reachable(control: SocketAddr) -> SocketAddr {
    let ip = match control.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, control.port())
}

/// Sends a request and returns the whole answer. The peer can neither make it long nor late.
fn exchange(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let until = Instant::now() + TIMEOUT;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4 << 10];
    loop {
        // A time of zero would be no limit at all.
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if answer.is_empty() => return Err(error),
            // Who does not read the request may end the connection with an error.
            Err(_) => break,
        }
        if answer.len() as u64 > ANSWER || left.is_zero() {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Returns the status and the body of an answer; `None` if it is no HTTP.
fn split(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_is_reached_by_loopback() {
        for (control, expected) in [
            ("0.0.0.0:7701", "127.0.0.1:7701"),
            ("[::]:7701", "[::1]:7701"),
            ("192.0.2.7:80", "192.0.2.7:80"),
        ] {
            assert_eq!(reachable(control.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn only_http_is_an_answer() {
        assert_eq!(
            split("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\nno\n"),
            Some((503, "no\n"))
        );
        for answer in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 \r\n\r\n", "HTTP/1.1 20"] {
            assert_eq!(split(answer), None, "{answer}");
        }
    }

    #[test]
    fn a_free_port_is_no_address() {
        let error = ask("127.0.0.1:0".parse().unwrap(), false).unwrap_err();
        assert!(error.to_string().contains("--control"), "{error}");
    }
}
