//! The client protocol of NATS: a stream of lines, some of them followed by a payload.

use std::io::Write;

use anyhow::bail;
use memchr::memmem;

/// The most bytes of an incomplete line.
const LINE: usize = 4 << 10;

/// Returns a configuration that serves WebSockets on loopback only.
#[must_use]
pub fn config(clients: u16, websockets: u16) -> String {
    format!(
        "host: 127.0.0.1\nport: {clients}\n\
         websocket {{ host: 127.0.0.1, port: {websockets}, no_tls: true }}\n"
    )
}

/// The lines that connect and subscribe. The server answers the ping after it has done both. `{id}`
/// is the subscriber.
pub const HELLO: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"name\":\"bench\",\
     \"lang\":\"rust\",\"version\":\"1\"}\r\nSUB u.{id} 1\r\nPING\r\n";

/// Returns the template of a message to `{peer}`.
#[must_use]
pub fn message(text: &str) -> String {
    format!("PUB u.{{peer}} {}\r\n{text}\r\n", text.len())
}

/// The counts of what the server sent, by kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The number of messages.
    pub messages: u64,
    /// The number of answers to pings.
    pub pongs: u64,
    /// The number of pings to answer.
    pub pings: u64,
}

/// Counts what the server sends, piece by piece.
#[derive(Debug, Default)]
pub struct Stream {
    /// The bytes of a line that is not complete.
    line: Vec<u8>,
    /// Bytes of a payload, and of the line's end behind it, that are still to come.
    payload: usize,
}

impl Stream {
    /// Reads the next piece of the stream.
    ///
    /// # Errors
    /// The server reports an error, or its output is not NATS.
    pub fn take(&mut self, mut piece: &[u8]) -> anyhow::Result<Said> {
        let mut said = Said::default();
        loop {
            let skipped = self.payload.min(piece.len());
            (self.payload, piece) = (self.payload - skipped, &piece[skipped..]);
            let Some(end) = memmem::find(piece, b"\n") else {
                self.line.write_all(piece)?;
                if self.line.len() > LINE {
                    bail!("NATS sends a line without an end");
                }
                return Ok(said);
            };
            let (rest, next) = piece.split_at(end + 1);
            piece = next;
            if self.line.is_empty() {
                self.line(rest, &mut said)?;
            } else {
                self.line.extend_from_slice(rest);
                let line = std::mem::take(&mut self.line);
                self.line(&line, &mut said)?;
            }
        }
    }

    fn line(&mut self, line: &[u8], said: &mut Said) -> anyhow::Result<()> {
        let text = std::str::from_utf8(line)?.trim_end();
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "MSG" => {
                let Some(Ok(bytes)) = rest.rsplit(' ').next().map(str::parse::<usize>) else {
                    bail!("NATS said {text:?}");
                };
                self.payload = bytes + 2;
                said.messages += 1;
            }
            "PONG" => said.pongs += 1,
            "PING" => said.pings += 1,
            "INFO" | "+OK" => {}
            _ => bail!("NATS said {text:?}"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] =
        b"INFO {\"a\":1}\r\nPONG\r\nMSG u.1 1 5\r\nhe\nlo\r\nMSG u.1 1 0\r\n\r\nPING\r\n";

    #[test]
    fn in_pieces_of_any_size() {
        for size in 1..=SAID.len() {
            let mut stream = Stream::default();
            let mut all = Said::default();
            for piece in SAID.chunks(size) {
                let said = stream.take(piece).unwrap();
                all.messages += said.messages;
                all.pongs += said.pongs;
                all.pings += said.pings;
            }
            let (messages, pongs, pings) = (2, 1, 1);
            assert_eq!(
                all,
                Said {
                    messages,
                    pongs,
                    pings
                },
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn errors_are_errors() {
        for said in [
            &b"-ERR 'Unknown'\r\n"[..],
            b"MSG a 1 x\r\n",
            &[b'x'; LINE + 1],
        ] {
            assert!(Stream::default().take(said).is_err());
        }
    }
}
