//! What a client must have sent before memory of HTTP or of TLS is worth its while.
//!
//! Without TLS, what comes of it stays in the kernel: it is looked at, and not read. Thousands of
//! buffers of clients that send half a request would leave free memory between other blocks of the heap.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::{HEAD, HEADERS};

/// The bytes of the header of a TLS record (RFC 8446 §5.1).
const RECORD_HEADER: usize = 5;

/// The type of TLS records that make a hand-shake.
const HAND_SHAKE: u8 = 22;

/// Returns whether more must come: these bytes are the beginning of a request's head. They are not if HTTP
/// can refuse them.
pub(super) fn is_half_a_head(bytes: &[u8]) -> bool {
    if bytes.len() >= HEAD {
        return false;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    matches!(request.parse(bytes), Ok(httparse::Status::Partial))
}

/// Returns whether more must come: these bytes are the beginning of a TLS record that begins a hand-shake.
pub(super) fn is_half_a_hello(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [kind, ..] if *kind != HAND_SHAKE => false,
        [_, _, _, high, low, ..] => {
            let record = RECORD_HEADER + usize::from(u16::from_be_bytes([*high, *low]));
            bytes.len() < record.min(HEAD)
        }
        _ => true,
    }
}

/// Waits until enough has come behind the bytes that were read already. Reads nothing. Returns `false` if the client
/// goes before.
pub(super) async fn comes(stream: &TcpStream, read: &[u8], is_half: fn(&[u8]) -> bool) -> bool {
    if !read.is_empty() && !is_half(read) {
        return true;
    }
    let mut unread = Unread(Some(stream));
    loop {
        let Ok(ready) = stream.ready(Interest::READABLE).await else {
            return false;
        };
        let looked = stream.try_io(Interest::READABLE, || {
            if look(stream, read, is_half)? {
                // Otherwise the stream would be ready as long as it has bytes.
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        });
        match looked {
            Ok(()) => {
                unread.0 = None;
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ready.is_read_closed() => {}
            // Nothing comes after the end, which counts as ready for good.
            Err(_) => return false,
        }
    }
}

/// Looks at what has come behind the bytes that were read already. Returns what `is_half` says of all.
fn look(stream: &TcpStream, read: &[u8], is_half: fn(&[u8]) -> bool) -> io::Result<bool> {
    let mut bytes = [0; HEAD];
    let had = read.len();
    bytes[..had].copy_from_slice(read);
    let (_, count) = recv(stream, &mut bytes[had..], RecvFlags::PEEK)?;
    Ok(is_half(&bytes[..had + count]))
}

/// A stream with bytes that nobody wants any more. They are read when this is dropped: otherwise the client would see
/// an error in place of the end.
struct Unread<'a>(Option<&'a TcpStream>);

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.0 {
            let _ = recv(stream, &mut [0; HEAD], RecvFlags::DONTWAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_head_is_half_until_http_can_answer_it() {
        for half in [
            "",
            "G",
            "\r\n\r\n",
            "\n\n\r\nGET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r",
            &"X".repeat(HEAD - 1),
        ] {
            assert!(is_half_a_head(half.as_bytes()), "{half}");
        }
        let lines = "X: y\r\n".repeat(HEADERS + 1);
        for whole in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET",
            "nonsense\r\n",
            "\x16\x03\x01",
            "GET / HTTP/3.0\r\n",
            &format!("GET / HTTP/1.1\r\n{lines}"),
            &"X".repeat(HEAD),
        ] {
            assert!(!is_half_a_head(whole.as_bytes()), "{whole}");
        }
    }

    #[test]
    fn a_hello_is_half_until_its_record_is_whole() {
        let record = |length: u16, has: usize| {
            let mut record = vec![HAND_SHAKE, 3, 1];
            record.extend_from_slice(&length.to_be_bytes());
            record.resize(RECORD_HEADER + has, 1);
            record
        };
        for (bytes, is_half) in [
            (&[][..], true),
            (&[HAND_SHAKE, 3], true),
            (&record(300, 299), true),
            (&record(300, 300), false),
            (&record(300, 301), false),
            (&record(0, 0), false),
            (&record(u16::MAX, HEAD - RECORD_HEADER), false),
            (b"GET", false),
        ] {
            assert_eq!(is_half_a_hello(bytes), is_half, "{}", bytes.len());
        }
    }

    /// Returns the two ends of a connection.
    async fn ends() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        (client.unwrap(), listener.accept().await.unwrap().0)
    }

    fn run(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(test);
    }

    /// Waits until the kernel has these bytes.
    async fn has(server: &TcpStream, bytes: usize) {
        while server.peek(&mut [0; 64]).await.unwrap() < bytes {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_head_in_parts_stays_in_the_kernel_until_it_is_whole() {
        run(async {
            let (mut client, server) = ends().await;
            let head = "GET / HTTP/1.1\r\n\r\n";
            let mut coming = std::pin::pin!(comes(&server, b"", is_half_a_head));
            for byte in head.as_bytes() {
                let polled = timeout(Duration::ZERO, &mut coming).await;
                assert!(polled.is_err(), "it is not whole");
                client.write_all(&[*byte]).await.unwrap();
            }
            assert!(coming.await);
            let mut read = vec![0; head.len()];
            assert_eq!(server.try_read(&mut read).unwrap(), head.len());
            assert_eq!(read, head.as_bytes());
            // Its first part may have been read already.
            client.write_all(&head.as_bytes()[4..]).await.unwrap();
            assert!(comes(&server, &head.as_bytes()[..4], is_half_a_head).await);
            assert!(comes(&server, head.as_bytes(), is_half_a_head).await);
        });
    }

    #[test]
    fn the_end_of_a_client_ends_the_wait() {
        run(async {
            for before in ["", "GET / HTTP/1.1\r\n"] {
                let (mut client, server) = ends().await;
                client.write_all(before.as_bytes()).await.unwrap();
                let mut coming = std::pin::pin!(comes(&server, b"", is_half_a_head));
                assert!(timeout(Duration::ZERO, &mut coming).await.is_err());
                let client = client.into_std().unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                assert!(!coming.await);
            }
            // What came whole before the end is answered.
            let (mut client, server) = ends().await;
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let client = client.into_std().unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert!(comes(&server, b"", is_half_a_head).await);
        });
    }

    #[test]
    fn a_client_that_is_given_up_sees_an_end() {
        run(async {
            let (mut client, server) = ends().await;
            let half = b"GET / HTTP/1.1\r\n";
            client.write_all(half).await.unwrap();
            has(&server, half.len()).await;
            let coming = comes(&server, b"", is_half_a_head);
            assert!(timeout(Duration::ZERO, coming).await.is_err());
            drop(server);
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        });
    }
}
