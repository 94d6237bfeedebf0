//! What one connection has yet to be told.
//!
//! A buffer is borrowed from the shard's pool with the first byte of a turn and goes back when
//! the socket has taken it all, normally at the end of the same turn.

use std::io::{self, Write};

use mio::net::TcpStream;
use trunkline_storage::Position;

/// Buffers kept for reuse, each of at most [`POOLED_BYTES`].
const POOL: usize = 1_024;

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
