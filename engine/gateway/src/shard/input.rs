//! The input of clients: the upgrade, frames and commands.

use std::borrow::Cow;
use std::io::{self, Read};

use trunkline_core::exchange::{BackKind, Query};
use trunkline_core::request::{Ask, Prepared, too_large};
use trunkline_proto::connection::{Event, MessageKind};
use trunkline_proto::frame::{Opcode, write_close, write_frame};
use trunkline_proto::handshake::{self, Rejection, Upgrade};
use trunkline_proto::message::{Command, CommandBody};
use trunkline_proto::{BadCommand, CloseCode, Encoding, ErrorCode};

use super::PIECE;
use super::backlog::{Progress, Rest, Slice};
use super::connection::{Conn, Phase};
use super::core::Core;
use super::price;
use super::rate::{Beyond, sent_command, sent_frame};
use super::trace;
use crate::metrics::{Limit, Work};
use crate::session::Session;
use crate::timer::Tick;

/// The path of the client protocol.
const PATH: &str = "/v1/ws";

/// In development mode, the path at which every message comes back. Conformance suites use it.
const ECHO: &str = "/v1/echo";

impl Core {
    /// Reads a connection. Leaves a connection without a session to a later turn if this turn has
    /// read its share of them.
    pub(super) fn read_in_turn(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        if conn.is_opening() {
            if !self.admission.take_one() {
                return conn.incoming.wait(slot, &mut self.admission);
            }
            if matches!(conn.phase(), Phase::Preamble) && !self.read_preamble(slot, conn, buffer) {
                return;
            }
        }
        self.read(slot, conn, buffer);
    }

    /// Reads a connection that the kernel reports. One that sends much waits behind the others, and so
    /// do those without a session.
    pub(super) fn readable(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        if conn.incoming.is_unread() || conn.incoming.rests() && !conn.incoming.has_ended() {
            return;
        }
        match conn.phase() {
            Phase::Open(_) | Phase::Echo if !conn.incoming.is_heavy() => {
                self.read(slot, conn, buffer);
            }
            _ if conn.is_opening() && !conn.incoming.is_slow() => {
                conn.incoming.wait(slot, &mut self.admission);
            }
            _ => conn.incoming.read_later(slot, &mut self.turn),
        }
    }

    /// Reads a connection once, and handles a slice of the input.
    pub(super) fn read(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        if conn.unanswered.is_leaving() {
            return;
        }
        if self.handoff.is_full() {
            // The kernel does not report this input again.
            return conn.incoming.read_later(slot, &mut self.turn);
        }
        if conn.out.len() > self.parts.limits.outbox_bytes && !conn.is_closing() {
            conn.incoming.pause();
        }
        if self.must_wait(conn) {
            conn.incoming.pause();
        }
        if conn.incoming.is_slow() && conn.unanswered.pages() > 0 {
            // One question in each turn of the slow lane: the answer resumes the input.
            conn.incoming.pause();
        }
        let beyond = conn
            .unanswered
            .is_beyond(self.handoff.bytes_for_one(), conn.incoming.is_slow());
        if beyond && !conn.is_closing() {
            if !conn.incoming.is_paused() {
                self.parts.metrics.limited(Limit::Outstanding);
            }
            conn.incoming.pause();
        }
        if self.backs.holds(slot) {
            // The verdict on its command resumes the input.
            conn.incoming.pause();
        }
        if conn.incoming.is_paused() && !conn.is_closing() {
            return;
        }
        self.read_slice(slot, conn, buffer);
    }

    /// Handles a slice of the input of a connection that may be read: of what is left, or of what a
    /// read brings.
    pub(super) fn read_slice(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        self.slice = Slice::new();
        if conn.incoming.has_backlog() {
            return self.go_on(slot, conn);
        }
        self.parts.metrics.reads.one();
        let (stream, tls) = conn.transport();
        if tls.is_some() {
            return self.read_sealed(slot, conn, buffer);
        }
        let read = match stream.read(&mut buffer[..PIECE]) {
            Ok(0) => return self.turn.drop_later(slot),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return conn.incoming.read_later(slot, &mut self.turn);
            }
            Err(_) => return self.turn.drop_later(slot),
        };
        if read == PIECE || conn.incoming.has_ended() {
            conn.incoming.read_later(slot, &mut self.turn);
        }
        self.parts.metrics.bytes_in.add(read as u64);
        conn.times.note_received(self.turn.now());
        self.new_input(slot, conn, &mut buffer[..read]);
        self.after_input(slot, conn);
        self.rest_from_pieces(slot, conn, read);
    }

    /// Lets a connection rest until the next tick whose message comes in tiny pieces, of which `read` bytes
    /// were the last one. A turn for each byte costs more than all bytes of the message: the next read
    /// finds the pieces of a tick together.
    pub(super) fn rest_from_pieces(&mut self, slot: u32, conn: &mut Conn, read: usize) {
        if conn.incoming.rest(read) {
            let next = self.turn.now() + 1;
            conn.times.schedule(slot, &mut self.turn, next);
        }
    }

    /// Reads a connection again whose rest between tiny pieces of a message is over.
    pub(super) fn look_at_rest(&mut self, slot: u32, conn: &mut Conn) {
        if conn.incoming.end_rest() && !conn.incoming.is_paused() {
            conn.incoming.read_later(slot, &mut self.turn);
        }
    }

    /// Handles a slice of input that has just been read. Leaves the rest to a later turn.
    pub(super) fn new_input(&mut self, slot: u32, conn: &mut Conn, input: &mut [u8]) {
        let left = self.input(slot, conn, input);
        if left > 0 {
            conn.incoming.leave_bytes(&input[input.len() - left..]);
        }
    }

    /// Goes on with input that an earlier turn left.
    fn go_on(&mut self, slot: u32, conn: &mut Conn) {
        let Some(mut backlog) = conn.incoming.take_backlog() else {
            return;
        };
        let rest = backlog.take_rest().filter(|_| !conn.is_closing());
        if let Some(mut rest) = rest {
            let mut progress = rest.progress;
            let left = self.commands(slot, conn, rest.commands(), &mut progress);
            if rest.leave(left) {
                rest.progress = progress;
                conn.incoming.leave_commands(rest);
            }
        }
        let left = if conn.incoming.has_backlog() {
            backlog.bytes().len()
        } else {
            self.input(slot, conn, backlog.bytes())
        };
        conn.incoming.leave_again(backlog, left);
        // The kernel does not report again what came meanwhile.
        conn.incoming.read_later(slot, &mut self.turn);
        self.after_input(slot, conn);
        self.end_sealed(slot, conn);
    }

    /// Handles a slice of input, as the phase of the connection asks. Returns the number of bytes
    /// that are left.
    fn input(&mut self, slot: u32, conn: &mut Conn, mut input: &mut [u8]) -> usize {
        match conn.phase() {
            Phase::Preamble => 0,
            Phase::Handshake(_) => self.upgrade(slot, conn, input),
            Phase::Upgraded | Phase::Echo | Phase::Open(_) => self.frames_in(slot, conn, input),
            Phase::Closing => {
                // Only the peer's Close frame counts: then nothing keeps the connection.
                let most = self.parts.limits.content.message_bytes;
                while let Ok(Some(event)) = conn.incoming.receive(&mut input, most) {
                    if matches!(event, Event::Close(..)) {
                        self.turn.drop_later(slot);
                        return 0;
                    }
                }
                self.slice.take_received(conn.incoming.take_received());
                0
            }
        }
    }

    /// Lets a later turn go on with what is left, counts the memory of a connection after its input,
    /// and limits the time of an incomplete message.
    pub(super) fn after_input(&mut self, slot: u32, conn: &mut Conn) {
        conn.incoming.note_slice(self.slice.is_spent());
        self.charge(slot, conn, Work::Parse, self.slice.used());
        if conn.incoming.has_backlog() && !conn.incoming.is_paused() {
            conn.incoming.read_later(slot, &mut self.turn);
        }
        conn.account(slot, &mut self.memory);
        // The hand-shake has a deadline of its own.
        let timed = !matches!(
            conn.phase(),
            Phase::Closing | Phase::Preamble | Phase::Handshake(_)
        );
        let (now, waits) = (self.turn.now(), conn.is_mid_message());
        if (waits || conn.incoming.has_backlog()) && conn.is_small() {
            // Most messages are complete by then.
            conn.times.schedule(slot, &mut self.turn, now + 2);
        }
        if !timed || !waits {
            return conn.incoming.message_ended();
        }
        // Others do not wait for messages that come in small pieces.
        conn.incoming.wait_behind();
        let began = conn.incoming.message_began(now);
        let ends = conn.incoming.message_ends(self.timeouts.message);
        let ends = ends.unwrap_or(Tick::MAX);
        if began {
            conn.times.schedule(slot, &mut self.turn, ends);
        } else if now >= ends {
            // The timer does not look at connections with unread input.
            self.endless(slot, conn);
        }
    }

    fn upgrade(&mut self, slot: u32, conn: &mut Conn, input: &mut [u8]) -> usize {
        let Some(mut held) = conn.take_request() else {
            return 0;
        };
        let input = if held.is_empty() {
            input
        } else {
            held.extend_from_slice(input);
            &mut held[..]
        };
        // Each piece that comes makes all of it be read again.
        self.slice.take_request(input.len());
        let parsed = handshake::parse_request(input, self.parts.limits.header_bytes);
        if !matches!(parsed, Ok(None)) && !self.named_by_head(slot, conn, input) {
            return 0;
        }
        match parsed {
            Ok(None) => conn.keep_request(input),
            Ok(Some((upgrade, size))) => {
                self.upgraded(slot, conn, &upgrade);
                if self.backs.asks(BackKind::Connect) && !conn.is_closing() {
                    self.keep_head(slot, conn, &input[..size]);
                }
                let rest = &mut input[size..];
                if !rest.is_empty() && !conn.is_closing() {
                    return self.frames_in(slot, conn, rest);
                }
            }
            Err(rejection) => self.reject(slot, conn, &rejection),
        }
        0
    }

    /// Answers a complete upgrade request.
    fn upgraded(&mut self, slot: u32, conn: &mut Conn, upgrade: &Upgrade) {
        self.charge(slot, conn, Work::Open, price::UPGRADE);
        let echo = upgrade.path == ECHO && self.parts.limits.echo;
        if upgrade.path != PATH && !echo {
            return self.reject(slot, conn, &Rejection::NOT_FOUND);
        }
        if let Err(foreign) = self.parts.limits.origins.admit(&upgrade.caller) {
            self.parts.metrics.limited(Limit::Origins);
            return self.reject(slot, conn, &Rejection::foreign(foreign));
        }
        upgrade.accept(self.frames_of(slot, conn));
        conn.out.set_encoding(upgrade.encoding);
        if echo {
            conn.enter(Phase::Echo, &mut self.admission);
            conn.times.clear_deadline();
            let at = self.turn.now() + self.timeouts.ping;
            conn.times.schedule(slot, &mut self.turn, at);
        } else {
            conn.enter(Phase::Upgraded, &mut self.admission);
            let timeout = self.timeouts.connect;
            conn.times.set_deadline(slot, &mut self.turn, timeout);
        }
    }

    /// Refuses an upgrade with an HTTP response.
    pub(super) fn reject(&mut self, slot: u32, conn: &mut Conn, rejection: &Rejection) {
        self.parts.metrics.rejected_handshakes.one();
        self.charge(slot, conn, Work::Refuse, price::REFUSAL);
        if rejection.status == 431 {
            self.parts.metrics.limited(Limit::HeaderBytes);
        }
        trace::rejected(self.parts.index, conn, rejection);
        self.last_words(slot, conn, |out| rejection.response(out));
    }

    /// Takes a slice of input apart. Returns the number of bytes that are left.
    fn frames_in(&mut self, slot: u32, conn: &mut Conn, mut input: &mut [u8]) -> usize {
        let most = self.parts.limits.content.message_bytes;
        loop {
            if self.slice.is_spent() || conn.incoming.is_paused() {
                return input.len();
            }
            let received = conn.incoming.receive(&mut input, most);
            self.slice.take_received(conn.incoming.take_received());
            match received {
                Ok(None) => return 0,
                Ok(Some(Event::Message(kind, payload))) => {
                    conn.incoming.message_ended();
                    if matches!(conn.phase(), Phase::Echo) {
                        self.slice.take_command(payload.len());
                        write_frame(self.frames_of(slot, conn), kind.opcode(), &payload, None);
                    } else {
                        self.message(slot, conn, kind, payload);
                    }
                }
                Ok(Some(Event::Close(code, _))) => {
                    // RFC 6455 §5.5.1: the answer names the same code.
                    self.closed(slot, conn, code.unwrap_or(CloseCode::NORMAL));
                    return 0;
                }
                Ok(Some(control)) => self.control(slot, conn, &control),
                Err(error) => {
                    self.close(slot, conn, error.close_code(), &error.to_string());
                    return 0;
                }
            }
            if conn.is_closing() {
                return 0;
            }
        }
    }

    /// Handles a ping or pong.
    fn control(&mut self, slot: u32, conn: &mut Conn, control: &Event<'_>) {
        let limits = &self.parts.limits;
        let now = self.turn.now();
        if conn.incoming.floods(now, limits.control_frames) {
            self.parts.metrics.limited(Limit::ControlFrames);
            let reason = "too many control frames within a second";
            return self.close(slot, conn, CloseCode::POLICY, reason);
        }
        match control {
            // A peer that pings and does not read must not fill its outbox.
            Event::Ping(payload) if conn.out.len() <= limits.outbox_bytes => {
                write_frame(self.frames_of(slot, conn), Opcode::Pong, payload, None);
            }
            Event::Pong(payload) => {
                let receipt = self.resuming.answer(slot, payload, now);
                if receipt.ask_again {
                    // The flush sends the next ping.
                    conn.out.flush_later(slot, &mut self.turn);
                }
                self.handoff.keep(receipt.keep);
            }
            _ => {}
        }
    }

    /// Handles the peer's Close frame. The peer reads up to our Close frame, and sends nothing more:
    /// TCP may close as soon as our Close frame is sent.
    fn closed(&mut self, slot: u32, conn: &mut Conn, code: CloseCode) {
        trace::closed_there(self.parts.index, conn, code);
        self.resuming.confirm(slot, conn.written(self.seen));
        self.last_words(slot, conn, |out| write_close(out, code, "", None));
        self.flush(slot, conn);
        if conn.out.len() == 0 {
            self.turn.drop_later(slot);
        }
    }

    fn message(&mut self, slot: u32, conn: &mut Conn, kind: MessageKind, payload: Cow<'_, [u8]>) {
        let expected = match conn.encoding() {
            Encoding::Json => MessageKind::Text,
            Encoding::Proto => MessageKind::Binary,
        };
        if kind != expected {
            let reason = "JSON goes in text frames, protobuf in binary ones";
            return self.close(slot, conn, CloseCode::UNSUPPORTED, reason);
        }
        let paid = if self.parts.shared.charges.are_on() {
            self.pay(slot, conn, sent_frame(payload.len()))
        } else {
            Ok(())
        };
        let mut progress = Progress { count: 0, paid };
        let left = self.commands(slot, conn, &payload, &mut progress);
        if left > 0 {
            let at = payload.len() - left;
            conn.incoming
                .leave_commands(Rest::new(payload, at, progress));
        } else if progress.count == 0 {
            self.bad_command(slot, conn, &BadCommand::no_command());
        }
    }

    /// Handles a slice of the commands of a message. Returns the number of bytes that are left.
    fn commands(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        payload: &[u8],
        progress: &mut Progress,
    ) -> usize {
        let encoding = conn.encoding();
        let most = self.parts.limits.frame_commands;
        let rated = self.parts.shared.charges.are_on();
        let mut rest = payload;
        loop {
            let before = rest.len();
            if before >= price::LARGE && self.waits_for_lane(slot, conn, rest) {
                return before;
            }
            // Lent from here on: a command is large.
            let next = encoding.next_command(&mut rest);
            let Some(command) = &next else {
                return 0;
            };
            let used = before - rest.len();
            self.slice.take_command(used);
            self.slice
                .take(price::of_signs(&payload[payload.len() - before..][..used]));
            progress.count += 1;
            if progress.count > most {
                self.parts.metrics.limited(Limit::FrameCommands);
                let text = format!(
                    "a frame holds at most {most} commands: the rest of this one was not read"
                );
                self.fail(slot, conn, 0, ErrorCode::LimitExceeded, &text);
                return 0;
            }
            let received = command.as_ref().ok().map(|command| &command.body);
            self.parts.metrics.command(received);
            let paid = progress.paid;
            if rated
                && let Err(beyond) = paid.and_then(|()| self.pay(slot, conn, sent_command(command)))
            {
                let id = match command {
                    Ok(command) => command.id,
                    Err(bad) => bad.id,
                };
                let text = "more than the limits allow was sent: wait a little";
                self.fail_beyond(slot, conn, id, beyond, text);
            } else if let Some((id, beyond)) = self.refusal(slot, conn, command) {
                let text = "the work for this client costs more than its budget: wait a little";
                self.fail_beyond(slot, conn, id, beyond, text);
            } else {
                match command {
                    Ok(command) => self.command(slot, conn, command),
                    Err(bad) => self.bad_command(slot, conn, bad),
                }
            }
            if conn.is_closing() {
                return 0;
            }
            if self.slice.is_spent() || conn.incoming.is_paused() {
                return rest.len();
            }
        }
    }

    /// Answers a command that cannot be read.
    fn bad_command(&mut self, slot: u32, conn: &mut Conn, bad: &BadCommand) {
        self.fail(slot, conn, bad.id, bad.code, &bad.message);
    }

    fn command(&mut self, slot: u32, conn: &mut Conn, command: &Command<'_>) {
        let id = command.id;
        if let CommandBody::Connect(connect) = &command.body {
            return self.connect(slot, conn, id, connect);
        }
        if conn.session().is_none() {
            let text = "send connect first";
            return self.fail(slot, conn, id, ErrorCode::Unauthorized, text);
        }
        let limits = std::sync::Arc::clone(&self.parts.limits);
        let large = |session: &Session| too_large(session.caller(), &limits.content, &command.body);
        if let Some(text) = conn.session().and_then(large) {
            return self.fail(slot, conn, id, ErrorCode::LimitExceeded, &text);
        }
        if self.ask_back(slot, conn, id, &command.body)
            || self.ephemeral_command(slot, conn, id, &command.body)
        {
            return;
        }
        self.hand_over(slot, conn, id, &command.body);
    }

    /// Gives a command of a session to the sequencer or the readers.
    pub(super) fn hand_over(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        command: &CommandBody<'_>,
    ) {
        let Some(session) = conn.session() else {
            return;
        };
        let limits = &self.parts.limits;
        let who = Ask {
            caller: session.caller(),
            ids: &self.parts.ids,
            epochs: &self.parts.epochs,
            known: Some(&self.known),
            limits: &limits.content,
            reply_to: conn.reply_to(self.parts.index, slot, id),
            read_at: self.turn.micros(),
        };
        match self.handoff.ask(&who, command) {
            Ok(Prepared::Queued) => {
                // The answer to an acknowledgement says nothing of order.
                let orders = !matches!(command, CommandBody::Ack(_));
                let body = self.handoff.last_body();
                conn.unanswered.queued(orders, body);
                if let Some(cost) = self.handoff.last_probable() {
                    conn.unanswered.expect(cost);
                }
                if conn.unanswered.is_dear(conn.incoming.is_slow()) {
                    self.parts.metrics.limited(Limit::Outstanding);
                    conn.incoming.pause();
                }
            }
            Ok(Prepared::Reply(body)) => self.reply(slot, conn, id, body),
            Ok(Prepared::Query(query)) => {
                self.query(slot, conn, id, query);
            }
            Err((code, message)) => self.fail(slot, conn, id, code, message),
        }
    }

    /// Asks the readers, once it is the question's turn. Returns `false` if there is no room for the
    /// question: then the command has failed.
    pub(super) fn query(&mut self, slot: u32, conn: &mut Conn, id: u32, query: Query) -> bool {
        /// The time that a few pages take, in ticks. Nobody knows when a page comes.
        const SOON: Tick = 1;
        let beyond = |limit| Beyond { limit, retry: SOON };
        if query.is_paged() && conn.unanswered.pages() >= self.parts.limits.pages {
            self.parts.metrics.limited(Limit::Pages);
            let text = "too many pages are asked for at a time: wait for some of them";
            self.fail_beyond(slot, conn, id, beyond("max_pages"), text);
            return false;
        }
        let Some(user) = conn.session().map(|session| session.id) else {
            return false;
        };
        let (recovers, paged) = (query.recovers(), query.is_paged());
        let (passes, most) = (query.held_bytes() > 0, self.handoff.bytes_for_one());
        let unanswered = &mut conn.unanswered;
        if self.reads.enter((slot, user), unanswered, id, query) {
            let slow = conn.incoming.is_slow();
            if (paged && slow) || (passes && conn.unanswered.is_beyond(most, slow)) {
                conn.incoming.pause();
            }
            return true;
        }
        if recovers {
            // The session cannot go on without the page: the client reconnects with its position.
            self.close(slot, conn, CloseCode::OVERLOADED, "too many reads");
        } else {
            let text = "too many reads are waiting: try again";
            self.fail_beyond(slot, conn, id, beyond("reads"), text);
        }
        false
    }
}
