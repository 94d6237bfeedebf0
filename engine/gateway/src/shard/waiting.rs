//! The output that waits for one connection.

use std::cell::Cell;
use std::rc::Rc;

use trunkline_core::frames::opcode;
use trunkline_proto::Encoding;
use trunkline_proto::frame::{MAX_HEADER, Opcode, begin_frame, begun, end_frame};

use super::chunks::{Chunk, Chunks, List};
use crate::mapped::{self, MAPPED_BYTES};
use crate::shared::{SHARED_BYTES, SharedFrame};

/// The size of a new buffer, in bytes: enough for a reply or two. In a storm of new connections each
/// connection of a turn borrows one. Buffers with more output grow, and keep their size.
pub(super) const FRESH_BYTES: usize = 512;

/// The bytes that a buffer on the heap takes at most. A crowd whose output waits for its turn would leave thousands of
/// larger ones: 7,000 connections left 117 MiB. Buffers with more output are mapped, and lent again by the pool.
pub(super) const HEAP_BYTES: usize = 4 << 10;

/// The bytes on the heap up to which buffers of a shard grow beyond [`FRESH_BYTES`]. Then buffers that need more are
/// mapped. Of a crowd each buffer would take [`HEAP_BYTES`] before its socket is tried for the first time, and one block
/// that stays among them keeps them all: 3,000 connections with short messages left 16 MiB.
pub(super) const HEAP_LENT: usize = 1 << 20;

/// The room for a frame whose length is not known. Most have less.
pub(super) const UNKNOWN_BYTES: usize = 256;

/// The number of sent bytes from which on the unsent bytes are moved to the front of the buffer, once
/// they are the smaller part. A client that always leaves a rest must not make the buffer grow for ever.
const MOVE: usize = 64 << 10;

/// What a buffer has grown to on the heap, and the sum of this for all buffers of a shard.
///
/// The sum is that of the `own` of all buffers.
#[derive(Debug)]
struct Grown {
    own: usize,
    all: Rc<Cell<usize>>,
}

impl Grown {
    const fn new(all: Rc<Cell<usize>>) -> Self {
        Self { own: 0, all }
    }

    fn set(&mut self, own: usize) {
        self.all.set(self.all.get() - self.own + own);
        self.own = own;
    }

    /// Whether the heap has room for this many more bytes.
    fn has_room(&self, bytes: usize) -> bool {
        self.all.get() + bytes <= HEAP_LENT
    }
}

impl Drop for Grown {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The output that waits for one connection.
///
/// `more` is empty while `first` is `None`.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Output that comes before `bytes`.
    first: Option<Chunk>,
    /// Output that comes between `first` and `bytes`.
    more: List,
    /// The number of bytes of all chunks.
    in_chunks: usize,
    /// The memory of the bytes of all chunks.
    chunks_memory: usize,
    /// Frames. Not encrypted, also on a TLS connection. Like the chunks.
    bytes: Vec<u8>,
    /// The number of bytes of the first chunk, or of `bytes` without chunks, that the socket has
    /// taken.
    sent: usize,
    /// TLS records. They go out before `bytes`.
    pub(super) sealed: Vec<u8>,
    /// The number of bytes of `sealed` that the socket has taken.
    pub(super) sealed_sent: usize,
    /// The frame at the end of `bytes` that takes more messages.
    batch: Option<Batch>,
    /// The socket has taken only a part of it: what comes waits for long.
    settled: bool,
    /// What `bytes`, and the chunks that it has become, have of the heap.
    grown: Grown,
}

/// A frame that several messages share. Its header is written when it takes no more.
#[derive(Debug, Clone, Copy)]
struct Batch {
    /// Where in the buffer the frame begins.
    start: usize,
    opcode: Opcode,
}

impl Waiting {
    /// Makes an empty buffer, with a list among these, which counts in `heap` what it has of the heap.
    pub(super) const fn new(chunks: Chunks, heap: Rc<Cell<usize>>) -> Self {
        Self {
            first: None,
            more: List::new(chunks),
            in_chunks: 0,
            chunks_memory: 0,
            bytes: Vec::new(),
            sent: 0,
            sealed: Vec::new(),
            sealed_sent: 0,
            batch: None,
            settled: false,
            grown: Grown::new(heap),
        }
    }

    /// The room in the buffers in bytes.
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity() + self.sealed.capacity()
    }

    /// The memory of what waits in bytes. Shared frames are counted elsewhere.
    pub(super) fn memory(&self) -> usize {
        let buffers = [&self.bytes, &self.sealed].map(mapped::memory);
        let chunks = self.more.memory() + self.chunks_memory;
        size_of::<Self>() + buffers.iter().sum::<usize>() + chunks
    }

    /// The number of bytes that the socket has not taken.
    pub(super) fn len(&self) -> usize {
        let sealed = self.sealed.len() - self.sealed_sent;
        self.in_chunks + self.bytes.len() - self.sent + sealed
    }

    /// The buffer to append a frame to whose length is not known.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        self.tail_for(UNKNOWN_BYTES)
    }

    /// The buffer to append a frame of `bytes` bytes to.
    #[inline]
    pub(super) fn tail_for(&mut self, bytes: usize) -> &mut Vec<u8> {
        self.close_batch();
        self.room_for(bytes)
    }

    #[inline]
    fn room_for(&mut self, bytes: usize) -> &mut Vec<u8> {
        if self.bytes.capacity() - self.bytes.len() < bytes {
            self.grow(bytes);
        }
        &mut self.bytes
    }

    /// Makes room for `bytes` more bytes or less: the buffer grows beyond that by itself.
    #[cold]
    fn grow(&mut self, bytes: usize) {
        let needed = self.bytes.len() + bytes;
        let room = needed.next_power_of_two().max(FRESH_BYTES);
        let had = self.bytes.capacity();
        let more = room.saturating_sub(had);
        let is_much = bytes >= mapped::LEAST || needed > HEAP_BYTES;
        if self.settled || is_much || (room > FRESH_BYTES && !self.grown.has_room(more)) {
            mapped::make_room(&mut self.bytes);
            self.grown.set(self.grown.own.saturating_sub(had));
        } else {
            self.bytes.reserve_exact(room - self.bytes.len());
            self.grown.set(self.grown.own + more);
        }
    }

    /// The end of the frames, and of the messages in the one that takes more.
    pub(super) const fn end(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes of the messages in the frame that takes more.
    pub(super) fn in_batch(&self) -> usize {
        self.batch
            .map_or(0, |batch| begun(&self.bytes, batch.start))
    }

    /// Makes room for a message of `bytes` bytes in the frame that takes more, or in a new one that takes more
    /// from now on. Returns the buffer to append it to.
    pub(super) fn batch_for(&mut self, encoding: Encoding, bytes: usize) -> &mut Vec<u8> {
        if self.batch.is_some() {
            let separator = encoding.separator();
            let tail = self.room_for(separator.len() + bytes);
            tail.extend_from_slice(separator);
            tail
        } else {
            let start = begin_frame(self.room_for(MAX_HEADER + bytes));
            let opcode = opcode(encoding);
            self.batch = Some(Batch { start, opcode });
            &mut self.bytes
        }
    }

    /// Takes the bytes from `at` on out of the frame that takes more, which ends at `end` then.
    pub(super) fn split_batch(&mut self, end: usize, at: usize) -> Vec<u8> {
        let message = self.bytes.split_off(at);
        self.bytes.truncate(end);
        self.close_batch();
        message
    }

    /// Ends the frame that takes more messages, if there is one.
    #[inline]
    pub(super) fn close_batch(&mut self) {
        if let Some(Batch { start, opcode }) = self.batch.take() {
            end_frame(&mut self.bytes, start, opcode);
        }
    }

    /// The bytes from which on frames are appended without a copy, at least.
    pub(super) const fn least_own(&self) -> usize {
        if self.settled {
            MAPPED_BYTES
        } else {
            SHARED_BYTES
        }
    }

    /// Appends frames without a copy.
    pub(super) fn append_own(&mut self, frames: Vec<u8>) {
        self.append(Chunk::Own(frames));
    }

    /// Appends a frame that other connections send too.
    pub(super) fn append_shared(&mut self, frame: SharedFrame) {
        self.append(Chunk::Shared(frame));
    }

    fn append(&mut self, chunk: Chunk) {
        self.close_batch();
        if self.first.is_none() && self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
        if !self.bytes.is_empty() {
            // What is sent of them is sent of the first chunk now.
            let bytes = std::mem::take(&mut self.bytes);
            self.add(Chunk::Own(bytes));
        }
        self.add(chunk);
    }

    fn add(&mut self, chunk: Chunk) {
        self.in_chunks += chunk.bytes().len();
        self.chunks_memory += chunk.memory();
        if self.first.is_none() {
            self.first = Some(chunk);
        } else {
            self.more.push(chunk);
        }
    }

    /// Appends TLS records that the socket did not take.
    pub(super) fn append_sealed(&mut self, records: &[u8]) {
        if !records.is_empty() {
            if self.sealed.len() + records.len() >= mapped::LEAST {
                mapped::make_room(&mut self.sealed);
            }
            self.sealed.extend_from_slice(records);
        }
    }

    /// Forgets the TLS records, which the socket has taken. A mapped buffer goes back to the kernel: other output of
    /// the connection may wait for long.
    pub(super) fn clear_sealed(&mut self) {
        self.sealed_sent = 0;
        if self.sealed.capacity() < MAPPED_BYTES {
            self.sealed.clear();
        } else {
            self.sealed = Vec::new();
        }
    }

    /// The next frames to send. Empty where everything is sent.
    pub(super) fn next(&self) -> &[u8] {
        let first = self.first.as_ref().map_or(&self.bytes[..], Chunk::bytes);
        &first[self.sent..]
    }

    /// Moves past this many bytes of [`Self::next`].
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        if let Some(first) = &self.first
            && self.sent == first.bytes().len()
        {
            self.in_chunks -= self.sent;
            self.chunks_memory -= first.memory();
            self.first = self.more.pop();
            self.sent = 0;
        }
    }

    /// Gives what waits memory that goes back to the kernel with it, because the socket takes no more now. Drops the
    /// sent bytes, once they are the larger part. No frame takes more messages.
    #[cold]
    pub(super) fn settle(&mut self) {
        debug_assert!(self.batch.is_none(), "a flush closes it");
        if self.first.is_none() {
            if self.sent >= MOVE && self.sent > self.bytes.len() / 2 {
                self.bytes.drain(..self.sent);
                self.sent = 0;
                // The buffer counts by its length: written pages behind its end would not be counted.
                self.bytes.shrink_to(self.bytes.len().max(MAPPED_BYTES));
            }
            if mapped::settle(&mut self.bytes, self.sent) {
                self.sent = 0;
            }
        } else {
            mapped::settle(&mut self.bytes, 0);
        }
        if mapped::settle(&mut self.sealed, self.sealed_sent) {
            self.sealed_sent = 0;
        }
        if !std::mem::replace(&mut self.settled, true) {
            self.settle_chunks();
        }
        self.grown.set(0);
    }

    /// Gives chunks that lie on the heap memory that goes back to the kernel with them.
    fn settle_chunks(&mut self) {
        let Some(first) = &mut self.first else {
            return;
        };
        if first.settle(self.sent) {
            self.in_chunks -= self.sent;
            self.sent = 0;
        }
        let mut memory = first.memory();
        self.more.for_each(|chunk| {
            chunk.settle(0);
            memory += chunk.memory();
        });
        self.chunks_memory = memory;
    }

    pub(super) fn clear(&mut self) {
        if self.first.is_some() {
            self.first = None;
            self.more.clear();
            self.in_chunks = 0;
            self.chunks_memory = 0;
        }
        self.bytes.clear();
        self.sent = 0;
        self.sealed.clear();
        self.sealed_sent = 0;
        self.batch = None;
        self.settled = false;
        self.grown.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::SharedBytes;

    #[test]
    fn what_waits_is_counted_encrypted_or_not() {
        let mut waiting = Waiting::new(Chunks::default(), Rc::default());
        waiting.bytes.extend_from_slice(&[7; 100]);
        waiting.advance(40);
        waiting.sealed.extend_from_slice(&[7; 30]);
        waiting.sealed_sent = 10;
        waiting
            .batch_for(Encoding::Json, 5)
            .extend_from_slice(&[7; 5]);
        waiting.close_batch();
        assert_eq!(waiting.len(), 60 + 20 + 2 + 5);
        waiting.clear();
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn chunks_and_bytes_are_sent_in_their_order() {
        let counted = SharedBytes::default();
        let mut waiting = Waiting::new(Chunks::default(), Rc::default());
        waiting.tail().extend_from_slice(b"abc");
        waiting.advance(1);
        waiting.append_shared(counted.share(b"def"));
        waiting.append_own(b"gh".to_vec());
        waiting.tail().extend_from_slice(b"i");
        assert_eq!(waiting.len(), 8);
        let mut sent = Vec::new();
        while !waiting.next().is_empty() {
            assert_eq!(waiting.len(), 8 - sent.len());
            let piece = waiting.next()[..waiting.next().len().min(2)].to_vec();
            waiting.advance(piece.len());
            sent.extend(piece);
        }
        assert_eq!((&sent[..], waiting.len()), (&b"bcdefghi"[..], 0));
        assert_eq!(counted.get(), 0, "what is sent is free");
        // The last bytes are encrypted, and the socket has not taken them yet.
        waiting.append_shared(counted.share(b"jk"));
        assert_eq!((waiting.next(), waiting.len()), (&b"jk"[..], 2));
    }

    #[test]
    fn shared_frames_take_no_memory_of_their_own() {
        let counted = SharedBytes::default();
        let frame = counted.share(&[7; 9_000]);
        let mut waiting = Waiting::new(Chunks::default(), Rc::default());
        waiting.append_shared(frame.clone());
        assert!(waiting.len() == 9_000 && waiting.memory() < 1_000);
        waiting.append_own(vec![7; 5_000]);
        assert!(waiting.len() == 14_000 && waiting.memory() > 5_000);
    }

    /// The socket takes nothing more: what comes is in the one buffer, which the allocator maps.
    #[test]
    fn what_waits_for_long_is_in_one_mapped_buffer() {
        for (batches, bytes) in [(false, 100), (true, 100), (false, 7_000), (true, 7_000)] {
            let mut waiting = Waiting::new(Chunks::default(), Rc::default());
            waiting.tail_for(300).extend_from_slice(&[7; 300]);
            waiting.settle();
            for _ in 0..20 {
                let tail = if batches {
                    waiting.batch_for(Encoding::Proto, bytes)
                } else {
                    waiting.tail_for(bytes)
                };
                tail.resize(tail.len() + bytes, 7);
                let (room, length) = (waiting.bytes.capacity(), waiting.bytes.len());
                assert!(room >= MAPPED_BYTES || length <= FRESH_BYTES, "{room}");
            }
            waiting.close_batch();
            let held = waiting.memory() - waiting.len();
            assert!(held < 5_000, "{held} bytes beside what waits");
        }
    }
}
