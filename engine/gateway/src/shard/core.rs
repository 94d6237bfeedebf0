//! What a shard owns besides its connections, and what it can do to one connection.
//!
//! Connections live in a table beside this, so that one of them and everything here can be in
//! hand at the same time.

use std::time::{Duration, Instant};

use trunkline_core::exchange::{CommandBatch, ConnRef, ReplyConn, ReplyTo};
use trunkline_core::frames::{write, write_batch};
use trunkline_core::per_user::PerUser;
use trunkline_core::position::Tokens;
use trunkline_core::store::{Batch, Position};
use trunkline_proto::error::{CloseCode, ErrorCode};
use trunkline_proto::frame::{Opcode, write_close, write_frame};
use trunkline_proto::message::{
    Disconnect, ErrorReply, Event, Gap, Push, Reply, ReplyBody, ServerMessage,
};

use super::admission::{Admission, Room};
use super::asking::Asking;
use super::connection::{Conn, Phase};
use super::departing::Departing;
use super::ephemeral::Ephemeral;
use super::memory::Memory;
use super::parts::Parts;
use super::pool::Pool;
use super::questions::Questions;
use super::resuming::Resuming;
use super::returns::Returns;
use super::tls::{Buffers, HANDSHAKE_COST};
use super::tokens::{CHECK_COST, Permits};
use super::turn::Turn;
use crate::metrics::Limit;
use crate::session::Frames;
use crate::timer::{TICK, Tick, ticks};

/// Commands that a shard collects while the sequencer's queue is full; it reads no more sockets
/// from there on.
const PENDING_COMMANDS: usize = 8_192;

/// Or so many bytes of them.
const PENDING_BYTES: usize = 4 << 20;

/// How long a closing connection may take to take its last frames and close its side.
const CLOSING: Duration = Duration::from_secs(3);

pub(crate) struct Core {
    pub(crate) parts: Parts,
    /// Connections of each user, in the order they connected.
    pub(crate) users: PerUser<u32>,
    pub(crate) batch: Box<CommandBatch>,
    pub(crate) frames: Frames,
    pub(crate) pool: Pool,
    /// For TLS; empty without.
    pub(super) tls: Buffers,
    /// The time, and the connections that the turn has yet to see to.
    pub(super) turn: Turn,
    /// New connections, up to their session.
    pub(super) admission: Admission,
    /// Questions that readers are yet to be given.
    pub(super) asking: Asking,
    /// Sessions of which a reader looks up what they missed.
    pub(crate) recovering: usize,
    /// What readers are asked for.
    pub(super) questions: Questions,
    /// The stop of the shard, and the delays of clients that it sends away.
    pub(super) departing: Departing,
    /// Sessions of which the position is kept.
    pub(crate) resuming: Resuming,
    /// The bytes that connections hold.
    pub(super) memory: Memory,
    pub(crate) ephemeral: Ephemeral,
    /// Which topics tokens allow; empty in development mode.
    pub(super) permits: Permits,
    pub(crate) sessions: u64,
    /// The last record of the last batch that came to this shard. Events of this shard's users
    /// up to here have been pushed; those after it will be.
    pub(crate) seen: Position,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            users: PerUser::default(),
            batch: parts.sequencer.spare(),
            frames: Frames::new(Tokens::new(&parts.epochs)),
            pool: Pool::default(),
            tls: parts
                .tls
                .as_ref()
                .map_or_else(Buffers::default, |_| Buffers::new()),
            turn: Turn::new(parts.shared.began),
            admission: Admission::new(
                Room {
                    connections: parts.room,
                    opening: parts.limits.opening,
                    per_turn: parts.limits.newcomers_per_turn,
                },
                parts.shared.clone(),
            ),
            asking: Asking::default(),
            recovering: 0,
            questions: Questions::default(),
            departing: Departing::new(
                parts.limits.drain_window,
                parts.limits.drain_timeout,
                Returns::new(
                    parts.limits.reconnect_rate,
                    parts.shards,
                    parts.limits.reconnect_delay_ms,
                ),
            ),
            resuming: Resuming::default(),
            memory: Memory::new(parts.limits.shard_buffer_bytes),
            ephemeral: Ephemeral::default(),
            permits: Permits::default(),
            sessions: 0,
            seen: parts.directory.head(),
            parts,
        }
    }

    /// Reads the clock: once per turn.
    pub(crate) fn tick(&mut self) -> Instant {
        let now = Instant::now();
        self.turn.begin(now);
        now
    }

    pub(crate) fn conn_ref(slot: u32, conn: &Conn) -> ConnRef {
        ConnRef {
            slot,
            generation: conn.generation,
        }
    }

    /// Where the answer to a command of a connection goes.
    pub(super) fn reply_to(&self, slot: u32, conn: &Conn, id: u32) -> ReplyTo {
        ReplyTo::Conn(ReplyConn {
            // At most `MAX_SHARDS`.
            shard: self.parts.index as u16,
            encoding: conn.encoding,
            conn: Self::conn_ref(slot, conn),
            id,
        })
    }

    /// Hands the commands of this turn to the sequencer.
    pub(crate) fn submit(&mut self) {
        if self.batch.commands.is_empty() && self.batch.positions.is_empty() {
            return;
        }
        let fresh = self.parts.sequencer.spare();
        let full = std::mem::replace(&mut self.batch, fresh);
        if let Err(back) = self.parts.sequencer.try_send(full) {
            self.batch = back;
        }
    }

    /// Whether commands wait for room in the sequencer's queue, so many that no more are read.
    pub(crate) fn is_stalled(&self) -> bool {
        self.batch.commands.len() >= PENDING_COMMANDS || self.batch.bodies.len() >= PENDING_BYTES
    }

    /// Remembers a connection whose input was not read to its end.
    pub(crate) fn read_later(&mut self, slot: u32, conn: &mut Conn) {
        self.turn.read_later(slot, &mut conn.unread);
    }

    /// Moves a connection on.
    pub(crate) fn set_phase(&mut self, conn: &mut Conn, phase: Phase) {
        self.admission
            .change(conn.phase.is_opening(), phase.is_opening());
        conn.phase = phase;
    }

    pub(super) fn mark_dirty(&mut self, slot: u32, conn: &mut Conn) {
        self.turn.flush_later(slot, &mut conn.dirty);
    }

    /// Where to append frames for a connection; they go out at the end of the turn.
    pub(crate) fn frames_of<'c>(&mut self, slot: u32, conn: &'c mut Conn) -> &'c mut Vec<u8> {
        self.mark_dirty(slot, conn);
        conn.out.frames(&mut self.pool)
    }

    /// Says something to a client.
    pub(crate) fn say(&mut self, slot: u32, conn: &mut Conn, message: &ServerMessage<'_>) {
        self.mark_dirty(slot, conn);
        let encoding = conn.encoding;
        if conn.batch {
            let most = self.parts.limits.content.message_bytes;
            conn.out
                .add_to_batch(&mut self.pool, (encoding, most), |out| {
                    encoding.encode_server(message, out);
                });
        } else {
            write(conn.out.frames(&mut self.pool), encoding, message);
        }
    }

    /// Replies to a command, unless it had no id.
    pub(crate) fn reply(&mut self, slot: u32, conn: &mut Conn, id: u32, body: ReplyBody<'_>) {
        if id != 0 {
            self.say(slot, conn, &ServerMessage::Reply(Reply { id, body }));
        }
    }

    /// Answers a command with an error, also one without an id.
    pub(crate) fn fail(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        code: ErrorCode,
        message: &str,
    ) {
        self.parts.metrics.error(code);
        let body = ReplyBody::Error(ErrorReply::new(code, message));
        self.say(slot, conn, &ServerMessage::Reply(Reply { id, body }));
    }

    /// Answers a command that goes beyond a limit, named by its setting, and says when it would not.
    pub(crate) fn fail_beyond(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        (limit, retry): (&'static str, Tick),
        message: &str,
    ) {
        self.parts.metrics.error(ErrorCode::TooManyRequests);
        let retry_ms = u64::from(retry) * TICK.as_millis() as u64;
        let body = ReplyBody::Error(ErrorReply::beyond(limit, retry_ms, message));
        self.say(slot, conn, &ServerMessage::Reply(Reply { id, body }));
    }

    /// Pushes a part of a record of a batch to a live connection, or notes that it could not be.
    pub(crate) fn push(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        batch: &Batch,
        (position, part): (Position, usize),
    ) {
        let Some(session) = conn.session() else {
            return;
        };
        if position <= session.live_from {
            return;
        }
        if session.catching_up {
            // It is in the store already: the next page reaches it.
            if let Some(session) = conn.session_mut() {
                session.live_from = position;
            }
            return;
        }
        if conn.out.len() > self.parts.limits.outbox_bytes && !conn.out.blocked {
            // A burst within one turn: only what the socket does not take makes a slow reader.
            self.flush(slot, conn);
        }
        if conn.out.has_gap() || self.is_behind(conn) {
            if conn.out.drop_up_to(position) {
                self.parts.metrics.gaps.one();
            }
            return;
        }
        self.mark_dirty(slot, conn);
        let Some(push) = self.frames.push(batch, (position, part), conn.encoding) else {
            return;
        };
        self.parts.metrics.pushed(push.kind).one();
        self.resuming.pushed(slot);
        if conn.batch {
            let to = (conn.encoding, self.parts.limits.content.message_bytes);
            conn.out.add_to_batch(&mut self.pool, to, |out| {
                out.extend_from_slice(&push.frame[push.header..]);
            });
        } else {
            conn.out
                .frames(&mut self.pool)
                .extend_from_slice(&push.frame);
        }
        if conn.out.blocked {
            // Not at the end of the turn: many pushes of it may go to those that do not read.
            self.account(slot, conn);
        }
    }

    /// Sends what a connection has waiting.
    pub(crate) fn flush(&mut self, slot: u32, conn: &mut Conn) {
        conn.dirty = false;
        let receipt = !self.resuming.is_empty() && !conn.out.blocked;
        let batched = conn.out.take_batch();
        if !batched.is_empty() {
            write_batch(conn.out.frames(&mut self.pool), conn.encoding, &batched);
            conn.out.recycle(batched);
        }
        if receipt {
            self.ask_receipt(slot, conn);
        }
        let was_blocked = conn.out.blocked;
        let flushed = match &mut conn.tls {
            None => conn.out.flush(&mut conn.stream, &mut self.pool),
            Some(tls) => conn.out.flush_sealed(&mut conn.stream, tls, &mut self.pool),
        };
        match flushed {
            Ok((sent, writes)) => {
                self.parts.metrics.bytes_out.add(sent as u64);
                self.parts.metrics.writes.add(writes);
                if conn.out.blocked {
                    if !was_blocked || sent > 0 {
                        let at = self.turn.now() + ticks(self.parts.limits.write_timeout);
                        // Others have a deadline already, which this must not put off.
                        if matches!(conn.phase, Phase::Open(_) | Phase::Echo) {
                            conn.deadline = at;
                        }
                        self.schedule(slot, conn, conn.deadline);
                    }
                } else {
                    self.drained(slot, conn);
                }
            }
            Err(_) => self.turn.drop_later(slot),
        }
        self.account(slot, conn);
    }

    /// The socket has taken everything: what waited for that goes on.
    fn drained(&mut self, slot: u32, conn: &mut Conn) {
        if matches!(conn.phase, Phase::Closing) {
            if self.end_tls(conn) {
                return self.flush(slot, conn);
            }
            // Our Close frame was the last: the peer sees the end, and we still read its own
            // Close. Closing at once could reset the connection before it has read ours.
            let _ = conn.stream.shutdown(std::net::Shutdown::Write);
            return;
        }
        if let Some(pos) = conn.out.end_gap() {
            self.say_gap(slot, conn, pos);
        }
        self.asking.drained(slot);
        if std::mem::take(&mut conn.paused) {
            // We did not read: the peer's time for its message was not running.
            conn.begun = if conn.begun == 0 { 0 } else { self.turn.now() };
            self.read_later(slot, conn);
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

    /// Lets the connection's timer fire at `at`, unless it does so earlier.
    pub(crate) fn schedule(&mut self, slot: u32, conn: &mut Conn, at: Tick) {
        self.turn.schedule(slot, &mut conn.due, at);
    }

    /// Closes the way RFC 6455 §7.1 asks: our Close frame, then the peer's, then TCP. With a
    /// `disconnect` push before it where the client is one of ours.
    pub(crate) fn close(&mut self, slot: u32, conn: &mut Conn, code: CloseCode, reason: &str) {
        if matches!(conn.phase, Phase::Closing) {
            return;
        }
        self.parts.metrics.close(code.0);
        self.trace_close(conn, "gateway", code.0, reason);
        if code.0 >= 3000 {
            let event = Event::Disconnect(Disconnect {
                code: code.0,
                reason: reason.into(),
                reconnect: code.reconnect(),
                delay_ms: [0, self.delay_after(code)],
            });
            self.say(slot, conn, &ServerMessage::Push(Push { pos: None, event }));
        }
        self.last_words(slot, conn, |out| write_close(out, code, reason, None));
    }

    /// The longest that a client is told to wait before it comes again.
    fn delay_after(&mut self, code: CloseCode) -> u64 {
        match code {
            _ if !code.reconnect() => 0,
            CloseCode::SHUTDOWN => self.departing.delay_at_stop(),
            CloseCode::OVERLOADED => {
                let cost = self.admission_cost();
                self.departing.delay_without_room(self.turn.now(), cost)
            }
            // It ends alone, and for a reason of its own.
            _ => self.parts.limits.reconnect_delay_ms,
        }
    }

    /// How many plain sessions one of this gateway's takes as long to take in as.
    pub(super) fn admission_cost(&self) -> u64 {
        let authority = self.parts.authority.as_ref();
        let check = authority.is_some_and(|authority| authority.takes_long());
        let tls = self.parts.tls.is_some();
        let extra = usize::from(tls) * (HANDSHAKE_COST - 1) + usize::from(check) * (CHECK_COST - 1);
        1 + extra as u64
    }

    /// Appends a connection's last bytes and reads no more of it.
    pub(crate) fn last_words(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let batched = conn.out.take_batch();
        let encoding = conn.encoding;
        let out = self.frames_of(slot, conn);
        if !batched.is_empty() {
            write_batch(out, encoding, &batched);
        }
        write(out);
        self.end_session(slot, conn);
        self.questions.end(slot);
        conn.leaving = false;
        self.set_phase(conn, Phase::Closing);
        conn.deadline = self.turn.now() + ticks(CLOSING);
        self.schedule(slot, conn, conn.deadline);
    }

    pub(crate) fn pong(&mut self, slot: u32, conn: &mut Conn, payload: &[u8]) {
        // A peer that pings and does not read must not fill its outbox.
        if conn.out.len() <= self.parts.limits.outbox_bytes {
            write_frame(self.frames_of(slot, conn), Opcode::Pong, payload, None);
        }
    }

    /// Takes a connection out of the user table.
    pub(crate) fn end_session(&mut self, slot: u32, conn: &Conn) {
        let Some(session) = conn.session() else {
            return;
        };
        self.parts
            .metrics
            .sessions
            .set(self.parts.metrics.sessions.get() - 1);
        self.end_resume(slot);
        if let Some(sessions) = &self.parts.shared.user_sessions {
            sessions.leave(session.id);
        }
        self.users.remove(session.id, slot);
        let device = session.device_mark(&self.parts.ids);
        if !self.parts.hub.leave(session.id, self.parts.index, device) {
            self.parts.metrics.limited(Limit::LastSeen);
        }
        self.stop_listening(slot);
        self.end_permit(slot);
    }
}
