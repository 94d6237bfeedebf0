//! Input that a turn has read and left to a later turn, and how much of a turn a connection gets.
//!
//! A connection handles input in slices. A slice ends with the first command or frame that uses it
//! up; the rest of the input stays with the connection, and the next turn goes on with it. So a frame
//! of a thousand commands takes several turns, in which other connections have theirs.

use std::borrow::Cow;

use trunkline_core::cost::Cost;
use trunkline_proto::connection::Received;

use crate::mapped;

/// The cost of the input that one connection handles in a row. Clients in conversation stay far below
/// it, and a turn has room for several slices.
const SLICE: Cost = Cost::micros(30);

/// The cost of the slices in which a turn goes on with connections that have more input. Connections
/// with new input do not wait for longer than this.
pub(super) const CONTINUED: Cost = Cost::micros(100);

/// The cost of reading a socket.
const SYSTEM_CALL: Cost = Cost::micros(2);

/// The cost of a frame, whole or a fragment.
const FRAME: Cost = Cost::nanos(60);

/// The cost of a TLS record, besides its bytes.
const RECORD: Cost = Cost::nanos(400);

/// The cost of 16 bytes of a message that is not whole in the input: their copy, and the new memory
/// that they go to.
const SIXTEEN_COPIED: Cost = Cost::nanos(16);

/// The cost of reading a command and handing it on.
const COMMAND: Cost = Cost::nanos(800);

/// The cost of 16 bytes of a command: unmasking, checking and parsing them; and of a request, at each look.
const SIXTEEN_BYTES: Cost = Cost::nanos(24);

/// Returns the cost of a command of this many bytes, besides what it holds.
#[inline]
pub(super) fn of_command(bytes: usize) -> Cost {
    COMMAND + SIXTEEN_BYTES.times(bytes / 16)
}

/// The cost of the input that one connection has handled since others had their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    used: Cost,
}

impl Slice {
    /// Returns the slice of a connection whose socket is read.
    pub(super) fn new() -> Self {
        Self { used: SYSTEM_CALL }
    }

    /// Adds the cost of work.
    #[inline]
    pub(super) fn take(&mut self, cost: Cost) {
        self.used += cost;
    }

    /// Adds the cost of frames, and of the copies of those that are not whole in the input.
    #[inline]
    pub(super) fn take_received(&mut self, received: Received) {
        let copied = SIXTEEN_COPIED.times(received.copied as usize / 16);
        self.take(FRAME.times(received.frames.into()) + copied);
    }

    /// Adds the cost of TLS records.
    pub(super) fn take_records(&mut self, records: usize) {
        self.take(RECORD.times(records));
    }

    /// Adds the cost of a look at an upgrade request of this many bytes, which may be incomplete.
    pub(super) fn take_request(&mut self, bytes: usize) {
        self.take(SIXTEEN_BYTES.times(bytes / 16));
    }

    /// Adds the cost of a command of this many bytes.
    #[inline]
    pub(super) fn take_command(&mut self, bytes: usize) {
        self.take(of_command(bytes));
    }

    /// Ends the slice, whatever it has handled: the next command waits.
    pub(super) fn end(&mut self) {
        self.used = self.used.max(SLICE);
    }

    /// Whether others have their turn now.
    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        self.used >= SLICE
    }

    /// Returns the cost of what was handled. The last command or frame may go beyond the slice.
    pub(super) const fn used(&self) -> Cost {
        self.used
    }
}

/// Commands of one message that are left to a later turn.
#[derive(Debug)]
pub(super) struct Rest {
    /// The message.
    payload: Vec<u8>,
    /// The number of bytes of the message that are handled.
    at: usize,
    /// What was found so far.
    pub(super) progress: Progress,
}

/// How far the commands of a message are handled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// The number of commands that were read.
    pub(super) count: usize,
    /// The limit that the bytes of the frame exceeded. It refuses each command.
    pub(super) paid: Result<(), super::rate::Beyond>,
}

impl Rest {
    /// Keeps a message of which the first `at` bytes are handled.
    pub(super) fn new(payload: Cow<'_, [u8]>, at: usize, progress: Progress) -> Self {
        let (payload, at) = match payload {
            Cow::Owned(payload) => (payload, at),
            Cow::Borrowed(payload) => (payload[at..].to_vec(), 0),
        };
        Self {
            payload,
            at,
            progress,
        }
    }

    /// The commands that are left.
    pub(super) fn commands(&self) -> &[u8] {
        &self.payload[self.at..]
    }

    /// Moves past all but the last `left` bytes. Returns whether commands are left.
    pub(super) fn leave(&mut self, left: usize) -> bool {
        self.at = self.payload.len() - left;
        left > 0
    }
}

/// The input of one connection that is left to a later turn: first the commands of a message, then
/// bytes that are not taken apart yet. One of the two is there.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    rest: Option<Rest>,
    bytes: Vec<u8>,
    /// The number of bytes of `bytes` that are handled.
    at: usize,
}

impl Backlog {
    /// Returns the memory of the backlog in bytes.
    pub(super) fn size(&self) -> usize {
        let rest = self.rest.as_ref();
        let rest = rest.map_or(0, |rest| mapped::memory(&rest.payload));
        size_of::<Self>() + rest + mapped::memory(&self.bytes)
    }

    /// Keeps commands of a message. They come before the bytes.
    pub(super) fn keep_rest(&mut self, rest: Rest) {
        self.rest = Some(rest);
    }

    /// Takes the commands of the message, if there are any.
    pub(super) fn take_rest(&mut self) -> Option<Rest> {
        self.rest.take()
    }

    /// Keeps a copy of bytes. None were kept before.
    pub(super) fn keep_bytes(&mut self, bytes: &[u8]) {
        self.bytes = bytes.to_vec();
        self.at = 0;
    }

    /// Gives what is left memory that goes back to the kernel with it. Returns whether its memory is
    /// another one now.
    pub(super) fn settle(&mut self) -> bool {
        let bytes = mapped::settle(&mut self.bytes, self.at);
        if bytes {
            self.at = 0;
        }
        let Some(rest) = &mut self.rest else {
            return bytes;
        };
        let commands = mapped::settle(&mut rest.payload, rest.at);
        if commands {
            rest.at = 0;
        }
        bytes || commands
    }

    /// The bytes that are not handled.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.at..]
    }

    /// Moves past all but the last `left` bytes.
    pub(super) fn leave(&mut self, left: usize) {
        self.at = self.bytes.len() - left;
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_none() && self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_with_what_uses_it_up() {
        let mut slice = Slice::new();
        assert_eq!((slice.is_spent(), slice.used()), (false, SYSTEM_CALL));
        let commands = (0..)
            .take_while(|_| {
                let spent = slice.is_spent();
                slice.take_command(64);
                !spent
            })
            .count();
        assert!((20..60).contains(&commands), "{commands}");
        assert!(slice.is_spent() && slice.used() >= SLICE);
        let mut slice = Slice::new();
        slice.take_command(1 << 20);
        assert!(slice.is_spent(), "a large command is one slice");
        assert!(
            slice.used() > Cost::micros(1_000),
            "and costs all that it needs"
        );
        let mut slice = Slice::new();
        slice.end();
        assert_eq!((slice.is_spent(), slice.used()), (true, SLICE));
        let fragments = Received {
            frames: 700,
            copied: 11_200,
        };
        slice.take_received(fragments);
        slice.end();
        assert_eq!(
            slice.used(),
            SLICE + FRAME.times(700) + SIXTEEN_COPIED.times(700)
        );
    }

    #[test]
    fn commands_come_before_bytes_and_nothing_is_copied_twice() {
        let progress = Progress {
            count: 3,
            paid: Ok(()),
        };
        let mut backlog = Backlog::default();
        assert!(backlog.is_empty());
        backlog.keep_rest(Rest::new(Cow::Borrowed(b"1234"), 1, progress));
        backlog.keep_bytes(b"frames");
        let size = backlog.size();
        let mut rest = backlog.take_rest().unwrap();
        assert_eq!((rest.commands(), rest.progress.count), (&b"234"[..], 3));
        assert!(rest.leave(1) && rest.commands() == b"4");
        backlog.keep_rest(rest);
        assert_eq!(backlog.size(), size);
        assert!(!backlog.take_rest().unwrap().leave(0));
        backlog.leave(2);
        assert_eq!(backlog.bytes(), b"es");
        assert!(!backlog.is_empty());
        backlog.leave(0);
        assert!(backlog.is_empty());
    }
}
