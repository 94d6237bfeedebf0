//! The upgrade and the frames of WebSocket, for drivers of protocols over it.

use trunkline_proto::CloseCode;
use trunkline_proto::connection::{Connection as Framing, Event as Frame};
use trunkline_proto::frame::{Opcode, write_close, write_frame};
use trunkline_proto::handshake::{self, ResponseError};

use super::{Broken, Event, Refused};

/// The longest answer to an upgrade that is taken, in bytes.
const HEAD_MAX: usize = 64 << 10;

/// The longest message in bytes that is accepted from a server. The longest real message is a page
/// of history.
const MAX_MESSAGE: usize = 16 << 20;

/// A message of the server.
pub(crate) type Payload<'b> = std::borrow::Cow<'b, [u8]>;

/// The masking keys of a thread. RFC 6455 §5.3 asks for unpredictable ones, to protect proxies; a
/// load generator needs distinct ones.
#[derive(Debug)]
pub(crate) struct Masks(u32);

impl Masks {
    /// Makes the sequence of keys that follows from a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed as u32 | 1)
    }

    /// Returns the next key.
    pub(crate) fn next(&mut self) -> Option<[u8; 4]> {
        self.0 = self.0.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        Some(self.0.to_be_bytes())
    }
}

/// The upgrade of one connection.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The bytes of the Sec-WebSocket-Key.
    key: [u8; 16],
    /// The bytes of the server's answer so far.
    head: Vec<u8>,
    done: bool,
}

impl Upgrade {
    /// Makes an upgrade with the key of these bytes.
    pub(crate) const fn new(key: [u8; 16]) -> Self {
        Self {
            key,
            head: Vec::new(),
            done: false,
        }
    }

    /// Returns the Sec-WebSocket-Key.
    pub(crate) fn key(&self) -> String {
        handshake::key_from(self.key)
    }

    /// Returns whether the server has accepted the upgrade.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Takes a piece of the server's answer, which `parse` reads with the key, and moves `input`
    /// past it. Returns whether the upgrade is done. What is left of the input are frames.
    ///
    /// # Errors
    /// The server refuses, or its answer has no end.
    pub(crate) fn answer(
        &mut self,
        input: &mut &mut [u8],
        parse: impl FnOnce(&[u8], &str) -> Result<Option<usize>, ResponseError>,
    ) -> Result<bool, Broken> {
        let before = self.head.len();
        self.head.extend_from_slice(input);
        match parse(&self.head, &self.key()) {
            Ok(Some(size)) => {
                // The end of the head is in this piece, or an earlier one would have had it.
                let taken = size.saturating_sub(before).min(input.len());
                *input = &mut std::mem::take(input)[taken..];
                self.head = Vec::new();
                self.done = true;
                Ok(true)
            }
            Ok(None) if self.head.len() > HEAD_MAX => Err(Broken::from(format!(
                "the answer to the upgrade has no end after {} bytes",
                self.head.len()
            ))),
            Ok(None) => {
                *input = &mut [];
                Ok(false)
            }
            Err(why) => {
                let said = String::from_utf8_lossy(&self.head);
                let body = said.rsplit("\r\n\r\n").next().unwrap_or_default().trim();
                Err(Broken {
                    why: format!("{why}: {body}"),
                    refused: Some(Refused {
                        retry_after: retry_after(&said),
                    }),
                })
            }
        }
    }
}

/// Takes the next frame out of the bytes that came. Answers pings.
///
/// # Errors
/// The server broke the framing.
pub(crate) fn receive<'b>(
    framing: &mut Framing,
    masks: &mut Masks,
    input: &mut &'b mut [u8],
    out: &mut Vec<u8>,
) -> Result<Option<Event<Payload<'b>>>, Broken> {
    loop {
        let event = match framing.receive(input, MAX_MESSAGE) {
            Ok(None) => return Ok(None),
            Ok(Some(Frame::Message(_, payload))) => Event::Said(payload),
            Ok(Some(Frame::Pong(_))) => continue,
            Ok(Some(Frame::Ping(payload))) => {
                write_frame(out, Opcode::Pong, &payload, masks.next());
                Event::Pinged
            }
            Ok(Some(Frame::Close(code, reason))) => Event::Closed {
                code: code.map_or(0, |code| code.0),
                reason,
            },
            Err(why) => return Err(Broken::from(format!("a broken frame: {why}"))),
        };
        return Ok(Some(event));
    }
}

/// Appends a Close frame that ends a session in order.
pub(crate) fn close(masks: &mut Masks, out: &mut Vec<u8>) {
    write_close(out, CloseCode::NORMAL, "", masks.next());
}

/// Returns the seconds of a Retry-After header.
fn retry_after(head: &str) -> Option<u64> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_found_whatever_its_case() {
        for (head, seconds) in [
            ("HTTP/1.1 503 x\r\nRetry-After: 12\r\n\r\n", Some(12)),
            (
                "HTTP/1.1 503 x\r\nContent-Length: 3\r\nretry-after:7\r\n\r\nno!",
                Some(7),
            ),
            ("HTTP/1.1 503 x\r\nRetry-After: soon\r\n\r\n", None),
            ("HTTP/1.1 503 x\r\n\r\n", None),
        ] {
            assert_eq!(retry_after(head), seconds, "{head}");
        }
    }
}
