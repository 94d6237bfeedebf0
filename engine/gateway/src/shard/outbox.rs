//! What one connection has yet to be told.
//!
//! Buffers are borrowed from the shard's pool with the first byte of a turn and go back when the
//! socket has taken it all, normally at the end of the same turn.

use std::io::{self, Write};
use std::num::NonZeroU64;

use mio::net::TcpStream;
use trunkline_core::frames::write_batch;
use trunkline_core::store::Position;
use trunkline_proto::Encoding;

use super::pool::{Pool, Waiting};

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(super) waiting: Option<Box<Waiting>>,
    /// The socket took less than there was: wait until it is writable.
    pub(crate) blocked: bool,
    /// Live pushes were dropped up to here: a record's position, which is never the first.
    gap: Option<NonZeroU64>,
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len())
    }

    /// Notes that live pushes up to `position` are dropped; whether they were not before.
    pub(crate) fn drop_up_to(&mut self, position: Position) -> bool {
        std::mem::replace(&mut self.gap, NonZeroU64::new(position.0)).is_none()
    }

    /// Whether live pushes were dropped of which the client was not told.
    pub(crate) const fn has_gap(&self) -> bool {
        self.gap.is_some()
    }

    /// Up to where live pushes were dropped; from here on they are not.
    pub(crate) fn end_gap(&mut self) -> Option<Position> {
        self.gap.take().map(|position| Position(position.get()))
    }

    fn waiting(&mut self, pool: &mut Pool) -> &mut Waiting {
        self.waiting.get_or_insert_with(|| pool.take())
    }

    /// Where to append frames.
    pub(crate) fn frames(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        &mut self.waiting(pool).bytes
    }

    /// Where to append records of TLS.
    pub(super) fn sealed(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        &mut self.waiting(pool).sealed
    }

    /// Appends a message to those that share a frame, which holds at most `most` bytes: where they
    /// do not fit together, the earlier ones become a frame by themselves.
    pub(crate) fn add_to_batch(
        &mut self,
        pool: &mut Pool,
        (encoding, most): (Encoding, usize),
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Waiting { batch, bytes, .. } = self.waiting(pool);
        let before = batch.len();
        if before > 0 {
            batch.extend_from_slice(encoding.separator());
        }
        let start = batch.len();
        write(batch);
        if before > 0 && batch.len() > most {
            write_batch(bytes, encoding, &batch[..before]);
            batch.drain(..start);
        }
    }

    /// Takes the messages that share a frame, to be framed; empty without any.
    pub(crate) fn take_batch(&mut self) -> Vec<u8> {
        let waiting = self.waiting.as_mut();
        match waiting.filter(|waiting| !waiting.batch.is_empty()) {
            Some(waiting) => std::mem::take(&mut waiting.batch),
            None => Vec::new(),
        }
    }

    /// Gives a buffer back that [`Outbox::take_batch`] lent.
    pub(crate) fn recycle(&mut self, mut batch: Vec<u8>) {
        if let Some(waiting) = &mut self.waiting {
            batch.clear();
            waiting.batch = batch;
        }
    }

    /// Gives the socket what waits; the bytes it took, and in how many writes.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn flush(
        &mut self,
        stream: &mut TcpStream,
        pool: &mut Pool,
    ) -> io::Result<(usize, u64)> {
        let (before, mut writes) = (self.sent(), 0);
        if let Some(waiting) = self.waiting.as_deref_mut() {
            let done = write_out(stream, &waiting.bytes, &mut waiting.sent, &mut writes)?;
            if !done {
                let taken = waiting.sent - before;
                self.blocked = true;
                waiting.make_room();
                return Ok((taken, writes));
            }
        }
        let taken = self.sent() - before;
        self.done(pool);
        Ok((taken, writes))
    }

    /// Bytes of the frames that the socket has taken.
    fn sent(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.sent)
    }

    /// The socket has taken everything.
    pub(super) fn done(&mut self, pool: &mut Pool) {
        self.blocked = false;
        if let Some(waiting) = self.waiting.take() {
            pool.give(waiting);
        }
    }
}

/// Writes `bytes` from `sent` on, counting the writes; `false` where the socket takes no more.
///
/// # Errors
/// The connection is gone.
pub(super) fn write_out(
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
mod tests {
    use std::io::Read;

    use super::*;

    /// A reader that always leaves something: what it has read takes no memory.
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
            out.flush(&mut ours, &mut pool).unwrap();
        }
        let mut read = vec![0; piece.len()];
        for _ in 0..400 {
            out.frames(&mut pool).extend_from_slice(&piece);
            while out.len() > LEFT {
                peer.read_exact(&mut read).unwrap();
                out.flush(&mut ours, &mut pool).unwrap();
            }
            assert!(out.len() > LEFT / 4);
        }
        let kept = out.frames(&mut pool).len();
        assert!(kept < 3 * LEFT, "{kept}");
    }
}
