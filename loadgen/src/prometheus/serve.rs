//! The part of HTTP that a scraper needs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Shared, page};

/// The connections that are answered at a time; further ones are turned away.
pub(super) const CONNECTIONS: usize = 4;
/// The time limit of a connection, from its first byte to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// The longest request that is read, in bytes.
const LONGEST: usize = 8 << 10;

/// Accepts connections until the listener ends.
pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            // No descriptor is left, most likely: not a thing to ask again at once.
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            turn_away(stream);
            continue;
        }
        let (own, shared) = (Arc::clone(&open), Arc::clone(shared));
        // Each connection has its own thread, so that a slow reader does not delay the others.
        let spawned = std::thread::Builder::new()
            .name("prometheus-scrape".into())
            .spawn(move || {
                let _ = answer(stream, &shared, Instant::now() + DEADLINE);
                own.fetch_sub(1, Ordering::SeqCst);
            });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Turns a connection away with an answer. Drops the part that its socket does not take at once.
fn turn_away(mut stream: TcpStream) {
    let _ = stream.set_nonblocking(true);
    let text = "too many scrapers at one time\n";
    let _ = stream.write(&response("503 Service Unavailable", "", text));
    let _ = stream.shutdown(Shutdown::Write);
}

/// Reads a request and answers it.
fn answer(mut stream: TcpStream, shared: &Shared, deadline: Instant) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = stream.read(&mut piece)?;
        request.extend_from_slice(&piece[..read]);
        if read == 0 || request.len() > LONGEST {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request);
    let mut words = request.lines().next().unwrap_or_default().split(' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let path = path.split('?').next();
    let bytes = match (method, path) {
        (Some("GET"), Some("/metrics")) => {
            let text = page::page(shared.run().as_ref());
            response("200 OK", "", &text)
        }
        (Some("GET"), _) => response("404 Not Found", "", "the metrics are at /metrics\n"),
        _ => response("405 Method Not Allowed", "Allow: GET\r\n", "only GET\n"),
    };
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(deadline)?))?;
        let written = stream.write(rest)?;
        rest = &rest[written..];
    }
    stream.shutdown(Shutdown::Write)
}

/// Returns the time that is left.
fn left(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         {headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
