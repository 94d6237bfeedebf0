//! The input of one connection: incomplete frames, what is left to a later turn, and whether there is
//! more to read.

use trunkline_proto::connection::{Connection as Framing, Event, Received, Role};
use trunkline_proto::frame::FrameError;

use super::admission::Admission;
use super::backlog::{Backlog, Rest};
use super::turn::Turn;
use crate::mapped;
use crate::rate::PerSecond;
use crate::timer::Tick;

/// The mark of a connection that the slow lane reads, in the number of reads.
const SLOW: u8 = 0x80;

/// The mark of a connection that is not read before the next tick, in the number of reads.
const RESTS: u8 = 0x40;

/// The bits of the number of tiny pieces of the incomplete message.
const PIECES: u8 = 0x30;

/// One tiny piece in those bits.
const ONE_PIECE: u8 = 0x10;

/// The bits of the number of reads.
const READS: u8 = 0x0f;

/// The number of bytes below which a piece of a message is tiny.
const TINY: usize = 64;

/// What has arrived from one connection, and what is left to read.
///
/// `unread` is true exactly while the connection stands in a list of [`Turn`] or [`Admission`].
#[derive(Debug)]
pub(crate) struct Incoming {
    framing: Framing,
    /// The input that was read and is left to a later turn.
    backlog: Option<Box<Backlog>>,
    /// Pings and pongs of the last second.
    controls: PerSecond,
    /// The tick in which the incomplete message began. 0: no message is incomplete.
    begun: Tick,
    unread: bool,
    /// The peer sends nothing more. The shard reads on until it reaches that end.
    ended: bool,
    /// The shard reads nothing until the connection has taken its output.
    paused: bool,
    /// The number of reads until the connection is read at once again. Set by a slice that was not
    /// enough; a connection that sends much waits behind the others. [`SLOW`] and [`RESTS`] are marks
    /// of their own, and [`PIECES`] a count of its own.
    heavy: u8,
}

impl Incoming {
    /// Makes the input of a new connection.
    pub(super) fn new() -> Self {
        Self {
            framing: Framing::new(Role::Server),
            backlog: None,
            controls: PerSecond::default(),
            begun: 0,
            unread: false,
            ended: false,
            paused: false,
            heavy: 0,
        }
    }

    /// Takes the next event out of `input`. Returns `None` at the end of the input. A message may
    /// have `most` bytes.
    ///
    /// # Errors
    /// The peer breaks RFC 6455, or a message is too long.
    pub(super) fn receive<'b>(
        &mut self,
        input: &mut &'b mut [u8],
        most: usize,
    ) -> Result<Option<Event<'b>>, FrameError> {
        self.framing.receive(input, most)
    }

    /// Returns how much work the events since the last call were.
    #[inline]
    pub(super) fn take_received(&mut self) -> Received {
        self.framing.take_received()
    }

    /// The bytes held of frames that are not complete, and of the input that is left to a later
    /// turn.
    pub(super) fn buffered(&self) -> usize {
        let left = self.backlog.as_ref().map_or(0, |backlog| backlog.size());
        self.framing.buffered_by(mapped::memory) + left
    }

    /// Whether the buffer of the incomplete message is one of the heap, and worth a move, or that of input which
    /// waits until the shard goes on reading.
    pub(super) fn is_small(&self) -> bool {
        let left = self.backlog.as_ref().filter(|_| self.paused);
        let left = left.map_or(0, |backlog| backlog.size());
        mapped::is_small(self.framing.buffered()) || mapped::is_small(left)
    }

    /// Gives what has waited for long memory that goes back to the kernel with it. Returns whether its
    /// memory is another one now.
    pub(super) fn settle(&mut self) -> bool {
        let message = self.framing.incomplete();
        let moved = message.is_some_and(|message| mapped::settle(message, 0));
        let backlog = self.backlog.as_mut();
        backlog.is_some_and(|backlog| backlog.settle()) || moved
    }

    /// Whether input is left to a later turn.
    pub(super) const fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// Takes the input that is left to a later turn.
    pub(super) fn take_backlog(&mut self) -> Option<Box<Backlog>> {
        self.backlog.take()
    }

    /// Leaves this input to a later turn, behind the commands that [`Self::leave_commands`] left.
    pub(super) fn leave_bytes(&mut self, bytes: &[u8]) {
        self.backlog.get_or_insert_default().keep_bytes(bytes);
    }

    /// Leaves the commands of a message to a later turn.
    pub(super) fn leave_commands(&mut self, rest: Rest) {
        self.backlog.get_or_insert_default().keep_rest(rest);
    }

    /// Leaves a backlog again to a later turn, of which the last `left` bytes are not handled.
    /// Commands that were left meanwhile come before these bytes.
    pub(super) fn leave_again(&mut self, mut backlog: Box<Backlog>, left: usize) {
        backlog.leave(left);
        if let Some(rest) = self.backlog.take().and_then(|mut new| new.take_rest()) {
            backlog.keep_rest(rest);
        }
        self.backlog = Some(backlog).filter(|backlog| !backlog.is_empty());
    }

    /// Notes whether a slice was enough for the input that was read.
    pub(super) const fn note_slice(&mut self, spent: bool) {
        if spent {
            self.wait_behind();
        } else if self.heavy & READS > 0 {
            self.heavy -= 1;
        }
    }

    /// Lets the connection wait behind the others before its next reads.
    pub(super) const fn wait_behind(&mut self) {
        /// The reads for which a connection that sent more than a slice waits behind the others.
        const BEHIND: u8 = 8;
        self.heavy = BEHIND | self.heavy & !READS;
    }

    /// Lets a connection rest until [`Self::end_rest`] if its message comes in tiny pieces, from the
    /// fourth one on. `read` bytes were the last piece. Returns whether it rests.
    pub(super) const fn rest(&mut self, read: usize) -> bool {
        if read >= TINY || self.begun == 0 || self.ended {
            return false;
        }
        let dawdles = self.heavy & PIECES == PIECES;
        if dawdles {
            self.heavy |= RESTS;
        } else {
            self.heavy += ONE_PIECE;
        }
        dawdles
    }

    /// Whether the connection is not read before the next tick.
    pub(super) const fn rests(&self) -> bool {
        self.heavy & RESTS != 0
    }

    /// Ends a rest. Returns whether there was one.
    pub(super) const fn end_rest(&mut self) -> bool {
        let rested = self.rests();
        self.heavy &= !RESTS;
        rested
    }

    /// Says whether the slow lane reads the connection.
    pub(super) const fn set_slow(&mut self, slow: bool) {
        self.heavy = self.heavy & !SLOW | if slow { SLOW } else { 0 };
    }

    /// Whether the slow lane reads the connection: its client spends much while others spend little.
    pub(super) const fn is_slow(&self) -> bool {
        self.heavy & SLOW != 0
    }

    /// Whether the connection recently sent more than a slice, or the slow lane reads it.
    pub(super) const fn is_heavy(&self) -> bool {
        self.heavy > 0
    }

    /// Whether no frame is incomplete.
    pub(super) fn is_idle(&self) -> bool {
        self.framing.is_idle()
    }

    /// Forgets what has arrived, and reads no frame any more.
    pub(super) fn abandon(&mut self) {
        self.backlog = None;
        self.framing.abandon();
    }

    /// Counts a ping or pong. Returns whether there were more than `most` within the second.
    pub(super) fn floods(&mut self, now: Tick, most: u16) -> bool {
        !self.controls.allows(now, most)
    }

    /// Lets the next turn read this connection again, or the slow lane.
    pub(super) fn read_later(&mut self, slot: u32, turn: &mut Turn) {
        if self.is_slow() {
            turn.read_slowly(slot, &mut self.unread);
        } else {
            turn.read_later(slot, &mut self.unread);
        }
    }

    /// Lets a turn read this connection that has a share left for connections without a session.
    pub(super) fn wait(&mut self, slot: u32, admission: &mut Admission) {
        admission.wait(slot, &mut self.unread);
    }

    /// Notes that a turn has taken this connection out of its list, to read it.
    pub(super) const fn taken_up(&mut self) {
        self.unread = false;
    }

    /// Whether there is input that the shard has not read yet.
    pub(super) const fn is_unread(&self) -> bool {
        self.unread
    }

    /// Notes that the peer sends nothing more.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the peer sends nothing more.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Stops reading until [`Self::resume`].
    pub(super) const fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on reading. Returns whether the input was paused. The time of an incomplete message
    /// begins anew: the shard did not read, so the peer's time was not running.
    pub(super) fn resume(&mut self, now: Tick) -> bool {
        let was = std::mem::take(&mut self.paused);
        if was && self.begun != 0 {
            self.begun = now;
        }
        was
    }

    /// Whether the shard reads nothing of this connection for now.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the shard reads this connection as fast as it sends.
    pub(super) const fn keeps_up(&self) -> bool {
        !self.paused && !self.unread
    }

    /// Begins the time of an incomplete message. Returns whether it was not running before.
    pub(super) fn message_began(&mut self, now: Tick) -> bool {
        let fresh = self.begun == 0;
        if fresh {
            self.begun = now.max(1);
        }
        fresh
    }

    /// Ends the time of a message.
    pub(super) const fn message_ended(&mut self) {
        self.begun = 0;
        self.heavy &= !PIECES;
    }

    /// The tick by which the incomplete message must be complete, `timeout` ticks after it began.
    /// `None`: no message is incomplete.
    pub(super) const fn message_ends(&self, timeout: Tick) -> Option<Tick> {
        if self.begun == 0 {
            None
        } else {
            Some(self.begun + timeout)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_time_of_a_message_runs_from_its_first_byte_and_anew_after_a_pause() {
        let mut incoming = Incoming::new();
        assert_eq!(incoming.message_ends(50), None);
        assert!(incoming.message_began(0) && !incoming.message_began(7));
        assert_eq!(incoming.message_ends(50), Some(51));
        assert!(!incoming.resume(30), "it was not paused");
        assert_eq!(incoming.message_ends(50), Some(51));
        incoming.pause();
        assert!(!incoming.keeps_up());
        assert!(incoming.resume(30) && !incoming.resume(40));
        assert_eq!(incoming.message_ends(50), Some(80));
        incoming.message_ended();
        incoming.pause();
        incoming.resume(60);
        assert_eq!(incoming.message_ends(50), None);
    }

    #[test]
    fn a_connection_that_is_to_be_read_stands_in_the_list_once() {
        let mut turn = Turn::new(Instant::now());
        let mut incoming = Incoming::new();
        incoming.read_later(3, &mut turn);
        incoming.read_later(3, &mut turn);
        assert!(incoming.is_unread() && !incoming.keeps_up());
        assert_eq!([(); 2].map(|()| turn.next_to_read()), [Some(3), None]);
        incoming.taken_up();
        assert!(incoming.keeps_up());
        incoming.end();
        assert!(incoming.has_ended() && incoming.keeps_up());
    }

    #[test]
    fn a_message_that_comes_in_tiny_pieces_rests_between_them() {
        let mut incoming = Incoming::new();
        assert!(!incoming.rest(1), "no message is incomplete");
        incoming.message_began(9);
        for piece in 1..=3 {
            assert!(!incoming.rest(1), "piece {piece} may be a header");
            incoming.wait_behind();
        }
        assert!(!incoming.rest(TINY), "no tiny piece");
        incoming.set_slow(true);
        assert!(incoming.rest(TINY - 1) && incoming.rests());
        incoming.wait_behind();
        assert!(incoming.is_slow() && incoming.end_rest() && !incoming.end_rest());
        assert!(incoming.is_heavy() && !incoming.rests());
        assert!(incoming.rest(1), "and again");
        incoming.end_rest();
        incoming.message_ended();
        incoming.set_slow(false);
        for _ in 0..8 {
            incoming.note_slice(false);
        }
        assert!(!incoming.is_heavy(), "nothing is left of it");
        incoming.message_began(20);
        assert!(!incoming.rest(1), "each message begins anew");
        incoming.end();
        for _ in 0..5 {
            assert!(!incoming.rest(1), "the end is read at once");
        }
    }

    #[test]
    fn control_frames_beyond_the_limit_of_a_second_flood() {
        let mut incoming = Incoming::new();
        assert_eq!(
            [1, 1, 1].map(|now| incoming.floods(now, 2)),
            [false, false, true]
        );
        assert!(!incoming.floods(20, 2));
    }
}
