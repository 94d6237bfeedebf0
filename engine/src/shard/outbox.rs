//! What one connection has yet to be told.
//!
//! A buffer is borrowed from the shard's pool with the first byte of a turn and goes back when
//! the socket has taken it all, normally at the end of the same turn.

use std::io::{self, Write};

use mio::net::TcpStream;
use trunkline_storage::Position;

/// Buffers kept for reuse, each of at most [`POOLED_BYTES`].
const POOL: usize = 1_024;

/// From so many sent bytes on, what is left is moved to the buffer's front once that is the
/// lesser part: a reader that is never quite done must not make the buffer grow for ever.
const MOVE: usize = 64 << 10;

/// Larger buffers are given back to the allocator.
const POOLED_BYTES: usize = 64 << 10;

/// Empty buffers that keep their memory.
#[derive(Debug, Default)]
pub(crate) struct Pool(Vec<Vec<u8>>);

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(4 << 10))
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < POOL && (1..=POOLED_BYTES).contains(&buffer.capacity()) {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Messages of a batching client, to be framed together at the end of the turn.
    batch: Vec<u8>,
    /// The socket took less than there was: wait until it is writable.
    pub(crate) blocked: bool,
    /// Live pushes were dropped up to here.
    pub(crate) gap: Option<Position>,
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent + self.batch.len()
    }

    /// Where to append frames.
    pub(crate) fn frames(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take();
        }
        &mut self.bytes
    }

    /// Where to append messages that share a frame.
    pub(crate) fn batch(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        if self.batch.capacity() == 0 {
            self.batch = pool.take();
        }
        &mut self.batch
    }

    /// Takes the messages that share a frame, to be framed.
    pub(crate) fn take_batch(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.batch)
    }

    /// Gives the socket what waits; the bytes it took.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn flush(&mut self, stream: &mut TcpStream, pool: &mut Pool) -> io::Result<usize> {
        let mut taken = 0;
        while self.sent < self.bytes.len() {
            match stream.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.sent += n;
                    taken += n;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    if self.sent >= MOVE && self.sent > self.bytes.len() / 2 {
                        self.bytes.drain(..self.sent);
                        self.sent = 0;
                    }
                    return Ok(taken);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.blocked = false;
        self.sent = 0;
        pool.give(std::mem::take(&mut self.bytes));
        Ok(taken)
    }

    /// Gives a buffer back that [`Outbox::take_batch`] lent.
    pub(crate) fn recycle(buffer: Vec<u8>, pool: &mut Pool) {
        pool.give(buffer);
    }
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
        assert!(out.bytes.len() < 3 * LEFT, "{}", out.bytes.len());
    }
}
