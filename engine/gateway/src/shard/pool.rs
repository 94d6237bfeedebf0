//! Buffers that connections borrow while they have something to say.

/// Buffers kept for reuse, and their bytes. Each shard may come to have so much: a gateway of a
/// million connections has over fifty.
const POOL: usize = 256;
const POOL_BYTES: usize = 4 << 20;

/// Larger buffers are given back to the allocator.
const POOLED_BYTES: usize = 64 << 10;

/// Room of a new buffer: a reply or two. In a storm of connections each of a turn has one; where
/// there is more to say they grow, and are reused as large as they are.
const FRESH_BYTES: usize = 512;

/// From so many sent bytes on, what is left is moved to the buffer's front once that is the
/// lesser part: a reader that is never quite done must not make the buffer grow for ever.
const MOVE: usize = 64 << 10;

/// Empty buffers that keep their memory.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    #[expect(clippy::vec_box, reason = "connections borrow and give back the boxes")]
    free: Vec<Box<Waiting>>,
    bytes: usize,
}

impl Pool {
    pub(super) fn take(&mut self) -> Box<Waiting> {
        let taken = self.free.pop();
        if let Some(waiting) = &taken {
            self.bytes -= waiting.room();
        }
        taken.unwrap_or_default()
    }

    pub(super) fn give(&mut self, mut waiting: Box<Waiting>) {
        let room = waiting.room();
        if self.free.len() < POOL && room <= POOLED_BYTES && self.bytes + room <= POOL_BYTES {
            waiting.clear();
            self.bytes += room;
            self.free.push(waiting);
        }
    }
}

/// What waits for a connection, while anything does.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) bytes: Vec<u8>,
    /// Of them, those that the socket has taken.
    pub(super) sent: usize,
    /// Records of TLS, which go before what is not encrypted yet.
    pub(super) sealed: Vec<u8>,
    /// Of them, bytes that the socket has taken.
    pub(super) sealed_sent: usize,
    /// Messages of a batching client, to be framed together at the end of the turn.
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

    /// Bytes that the socket has not taken.
    pub(super) fn len(&self) -> usize {
        let sealed = self.sealed.len() - self.sealed_sent;
        self.bytes.len() - self.sent + sealed + self.batch.len()
    }

    /// Drops what was sent, once that is the larger part.
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
