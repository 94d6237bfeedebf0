//! The parts of a shard besides its connections, and what it does to one connection.
//!
//! The connections are in a table beside [`Core`], so that a function can use a connection and the
//! parts at the same time.

use std::sync::Arc;

use trunkline_core::exchange::first_number;
use trunkline_core::per_user::{Half, Key, PerUser, Quarter};
use trunkline_core::position::Tokens;
use trunkline_core::request::Known;
use trunkline_core::store::{Batch, Position};
use trunkline_proto::error::{CloseCode, ErrorCode};
use trunkline_proto::frame::{Opcode, write_close, write_frame};
use trunkline_proto::message::{
    Disconnect, ErrorReply, Event, Gap, Push, Reply, ReplyBody, ServerMessage,
};

use super::admission::{Admission, Room};
use super::back::Backs;
use super::backlog::Slice;
use super::connection::{Conn, Phase};
use super::departing::Departing;
use super::ephemeral::Ephemeral;
use super::greeting::Greeting;
use super::handoff::Handoff;
use super::memory::Memory;
use super::parts::Parts;
use super::pool::Pool;
use super::price;
use super::purse::Payments;
use super::rate::Beyond;
use super::reads::Reads;
use super::resuming::Resuming;
use super::returns::Returns;
use super::times::Timeouts;
use super::tls::Buffers;
use super::tokens::Permits;
use super::trace;
use super::turn::Turn;
use super::{LITTLE, MUCH};
use crate::metrics::{Limit, Work};
use crate::rate::Allowances;
use crate::session::{EventRef, Frames};
use crate::shared::SharedBytes;
use crate::timer::{TICK, Tick};

/// The time in which a closing connection must take its last frames and close its side, in ticks: 3
/// seconds.
const CLOSING: Tick = 30;
const _: () = assert!(TICK.as_millis() * CLOSING as u128 == 3_000);

/// The bytes of output that a connection may have until the end of a turn without being counted.
const UNCOUNTED: usize = 4 << 10;

/// The parts of a shard. Each owns its state; the methods of `Core` carry what one part says to
/// another.
pub(crate) struct Core {
    pub(super) parts: Parts,
    /// The slots of the sessions of each user, in the order in which they connected. A slot may be of
    /// another user with the same key: compare the id of its session.
    pub(super) users: PerUser<Quarter, u32>,
    /// The ids of the conversations that clients wrote to of late.
    pub(super) known: Known,
    /// The commands of the turn, for the sequencer.
    pub(super) handoff: Handoff,
    /// What the connection that is being read may still handle before others have their turn.
    pub(super) slice: Slice,
    /// Whether the slow lane reads that connection.
    pub(super) reads_slowly: bool,
    /// The stored events that are being pushed, encoded once.
    pub(super) frames: Frames,
    /// The buffers that connections borrow.
    pub(super) pool: Pool,
    /// The tick in which the shard next returns unused mapped buffers to the kernel. [`Tick::MAX`]: it keeps no mapped buffers.
    pub(super) rests_at: Tick,
    /// The buffers of TLS; empty without TLS.
    pub(super) tls: Buffers,
    /// The time, and the connections that the turn has yet to see to.
    pub(super) turn: Turn,
    /// How long the shard waits for its peers.
    pub(super) timeouts: Timeouts,
    /// The connections without a session.
    pub(super) admission: Admission,
    /// The questions for the readers.
    pub(super) reads: Reads,
    /// The stop of the shard, and the delays of clients that it sends away.
    pub(super) departing: Departing,
    /// The sessions whose positions are kept.
    pub(super) resuming: Resuming,
    /// The bytes that connections hold.
    pub(super) memory: Memory,
    /// The watches and subscriptions of connections.
    pub(super) ephemeral: Ephemeral,
    /// The questions to back ends.
    pub(super) backs: Backs,
    /// The tokens of sessions; empty in development mode.
    pub(super) permits: Permits,
    /// The replies to `connect`.
    pub(super) greeting: Greeting,
    /// What the last payments of connections left.
    pub(super) payments: Payments,
    /// The amounts that connections may still send; empty without rates.
    pub(super) allowances: Allowances,
    /// The tick in which the shard next forgets the allowances of idle clients. [`Tick::MAX`]: there are
    /// none.
    pub(super) forgets_at: Tick,
    /// The tick in which the shard last served a client within its budget.
    pub(super) served_at: Tick,
    /// The number of the last session. They count from a random number: a number from before a restart of
    /// the gateway is no other session's.
    pub(super) sessions: u64,
    /// The last record of the last batch that came to this shard. The events of this shard's users
    /// up to here have been pushed; later ones will be.
    pub(super) seen: Position,
}

impl Core {
    /// Makes the parts of a shard without connections.
    pub(super) fn new(parts: Parts) -> Self {
        let limits = &parts.limits;
        let room = Room {
            connections: parts.room,
            opening: limits.opening,
            per_turn: limits.newcomers_per_turn,
        };
        let returns = Returns::new(
            limits.reconnect_rate,
            parts.shards,
            limits.reconnect_delay_ms,
        );
        let shared = SharedBytes::new(Arc::clone(&parts.shared.pushes));
        let memory = Memory::new(limits.shard_buffer_bytes, shared);
        Self {
            users: PerUser::default(),
            known: Known::default(),
            handoff: Handoff::new(parts.sequencer.clone()),
            slice: Slice::new(),
            reads_slowly: false,
            frames: Frames::new(Tokens::new(&parts.epochs), memory.shared().clone()),
            pool: Pool::default(),
            rests_at: Tick::MAX,
            tls: Buffers::new(parts.tls.is_some()),
            turn: Turn::new(parts.shared.began),
            timeouts: Timeouts::of(limits),
            admission: Admission::new(room, parts.shared.clone()),
            reads: Reads::new(parts.readers.clone()),
            departing: Departing::new(limits.drain_window, limits.drain_timeout, returns),
            resuming: Resuming::default(),
            memory,
            ephemeral: Ephemeral::new(&parts),
            backs: Backs::new(parts.back_ends.clone(), Arc::clone(&parts.mailbox)),
            permits: Permits::new(&parts),
            greeting: Greeting::new(&parts),
            payments: Payments::default(),
            allowances: Allowances::default(),
            forgets_at: Tick::MAX,
            served_at: Tick::MAX,
            sessions: first_number(),
            seen: parts.directory.head(),
            parts,
        }
    }

    /// The buffer to append frames for a connection to. The frames go out at the end of the turn.
    pub(super) fn frames_of<'c>(&mut self, slot: u32, conn: &'c mut Conn) -> &'c mut Vec<u8> {
        conn.out.flush_later(slot, &mut self.turn);
        conn.out.frames(&mut self.pool)
    }

    /// Sends a message to a client, at the end of the turn.
    pub(super) fn say(&mut self, slot: u32, conn: &mut Conn, message: &ServerMessage<'_>) {
        conn.out.flush_later(slot, &mut self.turn);
        let most = self.parts.limits.content.message_bytes;
        conn.out.say(&mut self.pool, most, message);
    }

    /// Replies to a command. A command with the id 0 gets no reply.
    pub(super) fn reply(&mut self, slot: u32, conn: &mut Conn, id: u32, body: ReplyBody<'_>) {
        if id != 0 {
            self.say(slot, conn, &ServerMessage::Reply(Reply { id, body }));
        }
    }

    /// Answers a command with an error. A command with the id 0 gets it too.
    pub(super) fn fail(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        code: ErrorCode,
        message: &str,
    ) {
        self.parts.metrics.error(code);
        self.charge(slot, conn, Work::Refuse, price::REFUSAL);
        let body = ReplyBody::Error(ErrorReply::new(code, message));
        self.say(slot, conn, &ServerMessage::Reply(Reply { id, body }));
    }

    /// Answers a command that goes beyond a limit, with the time after which to try again.
    pub(super) fn fail_beyond(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        beyond: Beyond,
        message: &str,
    ) {
        self.parts.metrics.error(ErrorCode::TooManyRequests);
        self.charge(slot, conn, Work::Refuse, price::REFUSAL);
        let retry_ms = u64::from(beyond.retry) * TICK.as_millis() as u64;
        let body = ReplyBody::Error(ErrorReply::beyond(beyond.limit, retry_ms, message));
        self.say(slot, conn, &ServerMessage::Reply(Reply { id, body }));
    }

    /// Pushes an event of a batch to a live session. Notes a gap where the client does not keep up.
    /// `crowd`: many connections get the event, and wait for each other.
    pub(super) fn push(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        batch: &Batch,
        event: EventRef,
        crowd: bool,
    ) {
        let Some(session) = conn.session_mut() else {
            return;
        };
        if !session.takes(event.position) {
            return;
        }
        // Most connections have taken nearly everything. Crowds pay for the rest.
        let little = UNCOUNTED.min(self.parts.limits.outbox_bytes);
        let room = !conn.out.is_blocked() && conn.out.len() <= little
            || self.make_room(slot, conn, crowd) && !self.is_behind(conn);
        if !room || conn.out.has_gap() {
            if conn.out.drop_up_to(event.position) {
                self.parts.metrics.gaps.one();
            }
            return;
        }
        if crowd {
            conn.out.flush_in_turn(slot, &mut self.turn);
        } else {
            conn.out.flush_later(slot, &mut self.turn);
        }
        let Some(push) = self.frames.push(batch, event, conn.encoding()) else {
            return;
        };
        self.parts.metrics.pushed(push.kind).one();
        self.resuming.pushed(slot);
        let most = self.parts.limits.content.message_bytes;
        conn.out.push(&mut self.pool, most, push.encoded());
        self.count_output(slot, conn);
    }

    /// Counts the output of a connection that does not read, or has much to be flushed. Not at the end
    /// of the turn: the turn may have many pushes for such connections.
    pub(super) fn count_output(&mut self, slot: u32, conn: &mut Conn) {
        if conn.out.is_blocked() || conn.out.len() > UNCOUNTED {
            conn.account(slot, &mut self.memory);
        }
    }

    /// Flushes a connection with much output before it gets more, also if memory is scarce. After a
    /// burst, only the bytes that the socket does not take make a slow reader. Returns `false` if the
    /// connection can have no more output in this turn. Then its output is beyond `outbox_bytes`, or the shard holds
    /// three quarters of what it may; the event goes to a crowd (`crowd`), and the turn has made all the flushes that
    /// it makes for crowds.
    #[inline(never)]
    pub(super) fn make_room(&mut self, slot: u32, conn: &mut Conn, crowd: bool) -> bool {
        if conn.out.is_blocked() {
            return true;
        }
        let waiting = conn.out.len();
        let beyond = waiting.saturating_sub(self.parts.limits.outbox_bytes);
        if beyond == 0 && (waiting <= UNCOUNTED || !self.memory.is_scarce()) {
            return true;
        }
        if crowd && !self.turn.take_room() {
            // Events may come faster than the flushes for crowds.
            let tight = self.memory.is_tight();
            if tight {
                self.parts.metrics.limited(Limit::ShardPushes);
            }
            return beyond == 0 && !tight;
        }
        self.flush_some(slot, conn, beyond.max(MUCH));
        true
    }

    /// Gives the socket of a connection the output that waits.
    pub(super) fn flush(&mut self, slot: u32, conn: &mut Conn) {
        self.flush_some(slot, conn, usize::MAX);
    }

    /// Gives the socket of a connection the little that a piece of its input has brought. So the time of
    /// that piece includes the write, which takes longer than the reading of a short command.
    pub(super) fn flush_piece(&mut self, slot: u32, conn: &mut Conn) {
        if conn.out.is_due() && !conn.out.is_blocked() && conn.out.len() <= LITTLE {
            self.flush(slot, conn);
        }
    }

    /// Gives the socket of a connection about `most` bytes of the output that waits. The rest waits
    /// for its turn. Returns the number of bytes that the socket took.
    pub(super) fn flush_some(&mut self, slot: u32, conn: &mut Conn, most: usize) -> usize {
        conn.out.taken_up();
        let was_blocked = conn.out.is_blocked();
        if !self.resuming.is_empty()
            && !was_blocked
            && let Some(payload) = self.resuming.ask(slot, conn.written(self.seen))
        {
            let out = conn.out.frames(&mut self.pool);
            write_frame(out, Opcode::Ping, &payload, None);
        }
        let flushed = conn.flush(&mut self.pool, most);
        let taken = flushed.as_ref().map_or(0, |flushed| flushed.bytes);
        match flushed {
            Ok(flushed) => {
                self.parts.metrics.bytes_out.add(flushed.bytes as u64);
                self.parts.metrics.writes.add(flushed.writes);
                if !conn.out.is_blocked() && conn.out.len() > 0 {
                    conn.out.flush_in_turn(slot, &mut self.turn);
                } else if !conn.out.is_blocked() {
                    self.drained(slot, conn);
                } else if !was_blocked || flushed.bytes > 0 {
                    if matches!(conn.phase(), Phase::Open(_) | Phase::Echo) {
                        let timeout = self.timeouts.write;
                        conn.times.set_deadline(slot, &mut self.turn, timeout);
                    } else {
                        // The other phases have a deadline already, which this must not put off.
                        let deadline = conn.times.deadline();
                        conn.times.schedule(slot, &mut self.turn, deadline);
                    }
                }
            }
            Err(_) => self.turn.drop_later(slot),
        }
        conn.account(slot, &mut self.memory);
        taken
    }

    /// Goes on with what waited for the socket to take all output.
    fn drained(&mut self, slot: u32, conn: &mut Conn) {
        if conn.is_closing() {
            if conn.end_tls(&mut self.pool) {
                return self.flush(slot, conn);
            }
            return conn.end_writing();
        }
        if let Some(pos) = conn.out.end_gap() {
            self.say_gap(slot, conn, pos);
        }
        self.reads.drained(slot);
        let room = conn.unanswered.has_room(self.handoff.bytes_for_one());
        if room && conn.incoming.resume(self.turn.now()) {
            conn.incoming.read_later(slot, &mut self.turn);
        }
    }

    /// Tells a client that pushes up to a position are missing.
    pub(super) fn say_gap(&mut self, slot: u32, conn: &mut Conn, pos: Position) {
        let pos = self.frames.tokens.text(pos);
        let event = Event::Gap(Gap { pos: pos.clone() });
        let push = Push {
            pos: Some(pos),
            event,
        };
        self.say(slot, conn, &ServerMessage::Push(push));
    }

    /// Closes a connection as RFC 6455 §7.1 asks: our Close frame, then the peer's, then TCP. Clients
    /// get a `disconnect` push before the Close frame if the code is one of this protocol.
    pub(super) fn close(&mut self, slot: u32, conn: &mut Conn, code: CloseCode, reason: &str) {
        if conn.is_closing() {
            return;
        }
        let said = Disconnect {
            code: code.0,
            reason: reason.into(),
            reconnect: code.reconnect(),
            delay_ms: [0, self.delay_after(code)],
        };
        self.close_saying(slot, conn, code, said);
    }

    /// Closes a connection as [`Core::close`] does, with this `disconnect` push.
    pub(super) fn close_saying(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        code: CloseCode,
        said: Disconnect<'_>,
    ) {
        if conn.is_closing() {
            return;
        }
        self.parts.metrics.close(code.0);
        let reason = said.reason.to_string();
        trace::closed_here(self.parts.index, conn, code, &reason);
        if code.0 >= 3000 {
            let event = Event::Disconnect(said);
            self.say(slot, conn, &ServerMessage::Push(Push { pos: None, event }));
        }
        self.last_words(slot, conn, |out| write_close(out, code, &reason, None));
    }

    /// The longest delay before a client reconnects after a close with this code, in milliseconds.
    fn delay_after(&mut self, code: CloseCode) -> u64 {
        match code {
            _ if !code.reconnect() => 0,
            CloseCode::SHUTDOWN => self.departing.delay_at_stop(),
            CloseCode::OVERLOADED => {
                let cost = self.parts.admission_cost();
                self.departing.delay_without_room(self.turn.now(), cost)
            }
            // The client leaves alone, for a reason of its own.
            _ => self.parts.limits.reconnect_delay_ms,
        }
    }

    /// Appends the last bytes for a connection, ends its session, and reads no more commands.
    pub(super) fn last_words(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        write(self.frames_of(slot, conn));
        self.settle_session(slot, conn);
        self.end_session(slot, conn);
        self.reads
            .end(slot, conn.session().map(|session| session.id));
        conn.unanswered.stay();
        self.set_slow(slot, conn, false);
        conn.enter(Phase::Closing, &mut self.admission);
        conn.times.set_deadline(slot, &mut self.turn, CLOSING);
    }

    /// Takes a session out of every part.
    pub(super) fn end_session(&mut self, slot: u32, conn: &Conn) {
        let Some(session) = conn.session() else {
            return;
        };
        let sessions = &self.parts.metrics.sessions;
        sessions.set(sessions.get() - 1);
        let keep = self.resuming.end(slot, self.turn.now());
        self.handoff.keep(keep);
        if let Some(sessions) = &self.parts.shared.user_sessions {
            sessions.leave(Half::of(session.id));
        }
        self.users.remove(session.id, slot);
        let device = session.device_mark(&self.parts.ids);
        if !self.parts.hub.leave(session.id, self.parts.index, device) {
            self.parts.metrics.limited(Limit::LastSeen);
        }
        self.parts.hub.note(&session.names);
        self.ephemeral.stop_listening(slot);
        self.permits.remove(slot);
    }
}
