//! The output of one connection.
//!
//! A connection borrows a buffer from the shard's pool with the first byte of output, and gives it
//! back when the socket has taken everything, normally at the end of the same turn.

use std::io::{self, Write};
use std::num::NonZeroU64;

use mio::net::TcpStream;
use trunkline_core::frames::write;
use trunkline_core::store::Position;
use trunkline_proto::Encoding;
use trunkline_proto::message::ServerMessage;

use super::pool::Pool;
use super::tls::Tls;
use super::turn::{Due, Turn};
use super::waiting::Waiting;
use crate::shared::Encoded;

/// Plaintext that is encrypted before the socket is tried again: two TLS records.
const PIECE: usize = 32 << 10;

/// The output of one connection: what waits to be sent, and in which form.
///
/// `due` says which of the turn's lists of connections to flush has the connection.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Option<Box<Waiting>>,
    /// One more than the position up to which live pushes were dropped, if the client has not been
    /// told. The position is 0 where the store has no record yet, and only ephemeral events were
    /// dropped.
    gap: Option<NonZeroU64>,
    encoding: Encoding,
    /// Several messages may share a frame.
    batching: bool,
    /// The socket took only a part of the output: the rest waits until the socket is writable.
    blocked: bool,
    due: Due,
}

/// The result of writing output to a socket.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flushed {
    /// The number of bytes that the socket took.
    pub(super) bytes: usize,
    /// The number of system calls.
    pub(super) writes: u64,
}

impl Outbox {
    /// The bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len())
    }

    /// The memory of what waits in bytes, without shared frames.
    pub(super) fn memory(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.memory())
    }

    /// The encoding that the client chose.
    pub(super) const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Sets the encoding that the client chose.
    pub(super) const fn set_encoding(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    /// Sets whether several messages may share a frame.
    pub(super) const fn set_batching(&mut self, batching: bool) {
        self.batching = batching;
    }

    /// Whether the socket took only a part of the output.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Notes that the socket is writable. Returns whether output waited for that.
    pub(super) const fn unblock(&mut self) -> bool {
        std::mem::replace(&mut self.blocked, false)
    }

    /// Lets the end of the turn flush this connection.
    pub(super) fn flush_later(&mut self, slot: u32, turn: &mut Turn) {
        turn.flush_later(slot, &mut self.due);
    }

    /// Lets a turn flush this connection, behind others that wait for that.
    pub(super) fn flush_in_turn(&mut self, slot: u32, turn: &mut Turn) {
        turn.flush_in_turn(slot, &mut self.due);
    }

    /// Whether the end of the turn is to flush this connection.
    pub(super) fn is_due(&self) -> bool {
        self.due == Due::ThisTurn
    }

    /// Whether this connection is to be flushed behind others that wait for that.
    pub(super) fn is_in_turn(&self) -> bool {
        self.due == Due::InTurn
    }

    /// Notes that this connection is flushed now.
    pub(super) const fn taken_up(&mut self) {
        self.due = Due::No;
    }

    /// Notes that live pushes up to `position` are dropped. Returns whether none were dropped before
    /// that the client has not been told of.
    pub(super) fn drop_up_to(&mut self, position: Position) -> bool {
        let gap = NonZeroU64::MIN.saturating_add(position.0);
        self.gap.replace(gap).is_none()
    }

    /// Whether live pushes were dropped and the client has not been told.
    pub(super) const fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Ends a gap: the next live pushes are sent. Returns the position up to which pushes were
    /// dropped.
    pub(super) fn end_gap(&mut self) -> Option<Position> {
        self.gap.take().map(|gap| Position(gap.get() - 1))
    }

    fn waiting(&mut self, pool: &mut Pool) -> &mut Waiting {
        self.waiting.get_or_insert_with(|| pool.take())
    }

    /// The buffer to append frames to.
    pub(super) fn frames(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        self.waiting(pool).tail()
    }

    /// Appends frames, without a copy if they are many bytes.
    pub(super) fn append(&mut self, pool: &mut Pool, mut frames: Vec<u8>) {
        let waiting = self.waiting(pool);
        if frames.len() < waiting.least_own() {
            waiting.tail_for(frames.len()).extend_from_slice(&frames);
        } else {
            // A growing buffer has room for twice the frames, which may wait for long.
            frames.shrink_to_fit();
            waiting.append_own(frames);
        }
    }

    /// The buffer to append TLS records to.
    pub(super) fn sealed(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        &mut self.waiting(pool).sealed
    }

    /// Appends a message. Messages that share a frame have at most `most` bytes together.
    pub(super) fn say(&mut self, pool: &mut Pool, most: usize, message: &ServerMessage<'_>) {
        let encoding = self.encoding;
        if self.batching {
            self.add_to_batch(pool, most, |out| encoding.encode_server(message, out));
        } else {
            write(self.frames(pool), encoding, message);
        }
    }

    /// Appends a message that is encoded already. `most` as in [`Self::say`].
    pub(super) fn push(&mut self, pool: &mut Pool, most: usize, encoded: Encoded<'_>) {
        let Encoded { message, frame, .. } = encoded;
        let (encoding, batching) = (self.encoding, self.batching);
        let waiting = self.waiting(pool);
        if let Some(frame) = encoded.shared {
            // Also beside messages that share a frame: a copy for each connection takes far more than a header.
            waiting.append_shared(frame.clone());
        } else if batching {
            if waiting.in_batch() + encoding.separator().len() + message.len() > most {
                waiting.close_batch();
            }
            let tail = waiting.batch_for(encoding, message.len());
            tail.extend_from_slice(message);
        } else {
            waiting.tail_for(frame.len()).extend_from_slice(frame);
        }
    }

    /// Writes a message behind those that share a frame. Where the frame would have more than `most`
    /// bytes, the earlier messages keep it, and this one begins another.
    fn add_to_batch(&mut self, pool: &mut Pool, most: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let encoding = self.encoding;
        let waiting = self.waiting(pool);
        let (earlier, end) = (waiting.in_batch(), waiting.end());
        let tail = waiting.batch_for(encoding, 1);
        let start = tail.len();
        write(tail);
        if earlier > 0 && waiting.in_batch() > most {
            let message = waiting.split_batch(end, start);
            let tail = waiting.batch_for(encoding, message.len());
            tail.extend_from_slice(&message);
        }
    }

    /// Gives the socket at most `most` bytes of the output, without encryption.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush(
        &mut self,
        stream: &mut TcpStream,
        pool: &mut Pool,
        most: usize,
    ) -> io::Result<Flushed> {
        let mut flushed = Flushed::default();
        if let Some(waiting) = self.waiting.as_deref_mut() {
            waiting.close_batch();
            while !waiting.next().is_empty() {
                if flushed.bytes >= most {
                    return Ok(flushed);
                }
                let (mut sent, next) = (0, waiting.next());
                let piece = &next[..next.len().min(most - flushed.bytes)];
                let done = write_out(stream, piece, &mut sent, &mut flushed.writes)?;
                waiting.advance(sent);
                flushed.bytes += sent;
                if !done {
                    self.blocked = true;
                    waiting.settle();
                    return Ok(flushed);
                }
            }
        }
        self.done(pool);
        Ok(flushed)
    }

    /// Gives the socket `most` bytes of the output or little more, encrypted. Throws away what cannot be encrypted, before the hand-shake or after TLS failed.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn flush_sealed(
        &mut self,
        stream: &mut TcpStream,
        tls: &mut Tls,
        pool: &mut Pool,
        most: usize,
    ) -> io::Result<Flushed> {
        let mut flushed = Flushed::default();
        if let Some(waiting) = self.waiting.as_deref_mut() {
            waiting.close_batch();
            loop {
                let before = waiting.sealed_sent;
                let (sealed, sent) = (&waiting.sealed, &mut waiting.sealed_sent);
                let done = write_out(stream, sealed, sent, &mut flushed.writes)?;
                flushed.bytes += waiting.sealed_sent - before;
                if !done {
                    self.blocked = true;
                    waiting.settle();
                    return Ok(flushed);
                }
                waiting.clear_sealed();
                let left = waiting.next().len();
                if left == 0 || !tls.has_keys() {
                    break;
                }
                if flushed.bytes >= most {
                    return Ok(flushed);
                }
                // What the socket takes at once needs no memory of this connection.
                let mut records = pool.take_records();
                let count = left.min(PIECE);
                tls.seal(&waiting.next()[..count], &mut records)?;
                waiting.advance(count);
                let mut sent = 0;
                let done = write_out(stream, &records, &mut sent, &mut flushed.writes)?;
                flushed.bytes += sent;
                waiting.append_sealed(&records[sent..]);
                pool.give_records(records);
                if !done {
                    self.blocked = true;
                    waiting.settle();
                    return Ok(flushed);
                }
            }
        }
        self.done(pool);
        Ok(flushed)
    }

    /// Gives the buffer back, whose content the socket has taken.
    fn done(&mut self, pool: &mut Pool) {
        self.blocked = false;
        if let Some(waiting) = self.waiting.take() {
            pool.give(waiting);
        }
    }
}

/// Writes `bytes` from `sent` on, and counts the system calls in `writes`. Returns `false` if the
/// socket takes no more now.
///
/// # Errors
/// The connection is gone.
fn write_out(
    stream: &mut TcpStream,
    bytes: &[u8],
    sent: &mut usize,
    writes: &mut u64,
) -> io::Result<bool> {
    while *sent < bytes.len() {
        *writes += 1;
        match stream.write(&bytes[*sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => *sent += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
impl Outbox {
    /// The memory of the TLS records that wait.
    pub(super) fn sealed_capacity(&self) -> usize {
        let waiting = self.waiting.as_ref();
        waiting.map_or(0, |waiting| waiting.sealed.capacity())
    }

    /// Whether no buffer is borrowed.
    pub(super) fn is_unused(&self) -> bool {
        self.waiting.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use trunkline_proto::frame::{Opcode, write_frame};
    use trunkline_proto::message::{Done, Reply, ReplyBody};

    use super::*;
    use crate::shared::{SHARED_BYTES, SharedBytes};

    /// A reader always leaves something unread: the bytes that it has read take no memory.
    #[test]
    fn a_reader_that_is_never_done() {
        // More than the kernel takes at once.
        const LEFT: usize = 24 << 20;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = TcpStream::from_std(ours);
        let (mut out, mut pool) = (Outbox::default(), Pool::default());
        let piece = [7; 256 << 10];
        while out.len() < LEFT {
            out.frames(&mut pool).extend_from_slice(&piece);
            out.flush(&mut ours, &mut pool, usize::MAX).unwrap();
        }
        let mut read = vec![0; piece.len()];
        for _ in 0..400 {
            out.frames(&mut pool).extend_from_slice(&piece);
            while out.len() > LEFT {
                peer.read_exact(&mut read).unwrap();
                out.flush(&mut ours, &mut pool, usize::MAX).unwrap();
            }
            assert!(out.len() > LEFT / 4);
        }
        let kept = out.frames(&mut pool).len();
        assert!(kept < 3 * LEFT, "{kept}");
    }

    #[test]
    fn messages_share_a_frame_until_it_would_be_too_long() {
        let (mut out, mut pool) = (Outbox::default(), Pool::default());
        out.set_batching(true);
        let message = |message| Encoded {
            frame: b"unused",
            message,
            shared: None,
        };
        for text in [&b"{1}"[..], b"{2}", b"{3}"] {
            out.push(&mut pool, 8, message(text));
        }
        let reply = ServerMessage::Reply(Reply {
            id: 1,
            body: ReplyBody::Typing(Done {}),
        });
        let mut fourth = Vec::new();
        Encoding::Json.encode_server(&reply, &mut fourth);
        out.say(&mut pool, 8, &reply);
        out.say(&mut pool, 8 + 2 * fourth.len(), &reply);
        let mut expected = Vec::new();
        let separator = Encoding::Json.separator();
        let frames = [
            [b"{1}", separator, b"{2}"].concat(),
            b"{3}".to_vec(),
            [&fourth, separator, &fourth].concat(),
        ];
        for payload in frames {
            write_frame(&mut expected, Opcode::Text, &payload, None);
        }
        assert_eq!(*out.frames(&mut pool), expected);
        let same = out.frames(&mut pool).len();
        assert_eq!(same, expected.len(), "nothing is written twice");
    }

    #[test]
    fn a_large_message_is_shared_beside_messages_that_share_a_frame() {
        let (mut out, mut pool) = (Outbox::default(), Pool::default());
        out.set_batching(true);
        let (shared, bytes) = (SharedBytes::default(), [b'l'; SHARED_BYTES]);
        let frame = shared.share(&bytes);
        for (message, shared) in [(&b"{1}"[..], None), (&bytes, Some(&frame)), (b"{2}", None)] {
            let encoded = Encoded {
                frame: message,
                message,
                shared,
            };
            out.push(&mut pool, 1 << 20, encoded);
        }
        out.frames(&mut pool);
        assert_eq!(out.len(), 2 * (2 + 3) + SHARED_BYTES);
        assert!(out.memory() < SHARED_BYTES, "{}", out.memory());
    }

    #[test]
    fn a_flush_takes_its_share_and_no_more() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let mut ours = TcpStream::from_std(ours);
        let (mut out, mut pool) = (Outbox::default(), Pool::default());
        let (shared, counted) = (SharedBytes::default(), [b's'; SHARED_BYTES]);
        let frame = shared.share(&counted);
        out.frames(&mut pool).extend_from_slice(b"first");
        let encoded = Encoded {
            frame: &counted,
            message: &counted,
            shared: Some(&frame),
        };
        out.push(&mut pool, 1 << 20, encoded);
        out.append(&mut pool, vec![b'a'; SHARED_BYTES]);
        out.append(&mut pool, b"last".to_vec());
        let mut sizes = Vec::new();
        while !out.is_unused() {
            sizes.push(out.flush(&mut ours, &mut pool, SHARED_BYTES).unwrap().bytes);
        }
        assert_eq!(sizes, [SHARED_BYTES, SHARED_BYTES, 9]);
        drop((ours, frame));
        assert_eq!(shared.get(), 0);
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        let expected = [b"first", &counted[..], &[b'a'; SHARED_BYTES], b"last"].concat();
        assert!(got == expected);
    }

    #[test]
    fn a_gap_is_told_once_with_the_last_position() {
        let mut out = Outbox::default();
        assert!(out.drop_up_to(Position(3)) && !out.drop_up_to(Position(5)));
        assert!(out.has_gap());
        assert_eq!(out.end_gap(), Some(Position(5)));
        assert_eq!((out.has_gap(), out.end_gap()), (false, None));
        // A store without a record.
        assert!(out.drop_up_to(Position::ZERO) && out.has_gap());
        assert_eq!(out.end_gap(), Some(Position::ZERO));
    }
}
