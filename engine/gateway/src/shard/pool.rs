//! The buffers that connections borrow while output waits for them.

/// The number of empty buffers that a shard keeps.
const POOL: usize = 256;

/// The bytes of empty buffers that a shard keeps. A gateway of a million connections has over fifty
/// shards.
const POOL_BYTES: usize = 4 << 20;

/// The size of a buffer that a shard keeps at most, in bytes. Larger ones go back to the allocator.
const POOLED_BYTES: usize = 64 << 10;

/// The size of a new buffer, in bytes: enough for a reply or two. In a storm of new connections each
/// connection of a turn borrows one. Buffers with more output grow, and keep their size.
const FRESH_BYTES: usize = 512;

/// The number of sent bytes from which on the unsent bytes are moved to the front of the buffer, once
/// they are the smaller part. A client that always leaves a rest must not make the buffer grow for ever.
const MOVE: usize = 64 << 10;

/// The empty buffers of a shard.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    #[expect(clippy::vec_box, reason = "connections borrow and give back the boxes")]
    free: Vec<Box<Waiting>>,
    bytes: usize,
}

impl Pool {
    /// Lends a buffer.
    pub(super) fn take(&mut self) -> Box<Waiting> {
        let taken = self.free.pop();
        if let Some(waiting) = &taken {
            self.bytes -= waiting.room();
        }
        taken.unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(super) fn give(&mut self, mut waiting: Box<Waiting>) {
        let room = waiting.room();
        if self.free.len() < POOL && room <= POOLED_BYTES && self.bytes + room <= POOL_BYTES {
            waiting.clear();
            self.bytes += room;
            self.free.push(waiting);
        }
    }
}

/// The output that waits for one connection.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Frames. Not encrypted, also on a TLS connection.
    pub(super) bytes: Vec<u8>,
    /// The number of bytes of `bytes` that the socket has taken.
    pub(super) sent: usize,
    /// TLS records. They go out before `bytes`.
    pub(super) sealed: Vec<u8>,
    /// The number of bytes of `sealed` that the socket has taken.
    pub(super) sealed_sent: usize,
    /// Messages that share a frame, which is written at the end of the turn.
    pub(super) batch: Vec<u8>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            bytes: Vec::with_capacity(FRESH_BYTES),
            sent: 0,
            sealed: Vec::new(),
            sealed_sent: 0,
            batch: Vec::new(),
        }
    }
}

impl Waiting {
    fn room(&self) -> usize {
        self.bytes.capacity() + self.sealed.capacity() + self.batch.capacity()
    }

    /// The number of bytes that the socket has not taken.
    pub(super) fn len(&self) -> usize {
        let sealed = self.sealed.len() - self.sealed_sent;
        self.bytes.len() - self.sent + sealed + self.batch.len()
    }

    /// Drops the sent bytes, once they are the larger part.
    pub(super) fn make_room(&mut self) {
        if self.sent >= MOVE && self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
        self.sealed.clear();
        self.sealed_sent = 0;
        self.batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_lent_again() {
        let mut pool = Pool::default();
        let mut waiting = pool.take();
        waiting.bytes.extend_from_slice(&[7; 9_000]);
        waiting.sent = 5;
        waiting.batch.extend_from_slice(b"batch");
        let room = waiting.room();
        pool.give(waiting);
        assert_eq!(pool.bytes, room);
        let again = pool.take();
        assert_eq!((again.room(), again.sent), (room, 0));
        assert!(again.bytes.is_empty() && again.batch.is_empty());
        assert_eq!((pool.bytes, pool.free.len()), (0, 0));
    }

    #[test]
    fn what_waits_is_counted_encrypted_or_not() {
        let mut waiting = Waiting::default();
        waiting.bytes.extend_from_slice(&[7; 100]);
        waiting.sent = 40;
        waiting.sealed.extend_from_slice(&[7; 30]);
        waiting.sealed_sent = 10;
        waiting.batch.extend_from_slice(&[7; 5]);
        assert_eq!(waiting.len(), 60 + 20 + 5);
        waiting.clear();
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn it_keeps_no_more_than_it_may() {
        let mut pool = Pool::default();
        let give = |pool: &mut Pool, size| {
            let mut waiting = Box::<Waiting>::default();
            waiting.bytes.reserve_exact(size);
            pool.give(waiting);
        };
        give(&mut pool, POOLED_BYTES + 1);
        assert_eq!(pool.free.len(), 0);
        for _ in 0..POOL + 9 {
            give(&mut pool, POOLED_BYTES);
        }
        assert_eq!(pool.bytes, POOL_BYTES);
        let mut pool = Pool::default();
        for _ in 0..POOL + 9 {
            give(&mut pool, FRESH_BYTES);
        }
        assert_eq!((pool.free.len(), pool.bytes), (POOL, POOL * FRESH_BYTES));
    }
}
