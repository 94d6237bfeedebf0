//! What a client sends: the upgrade, frames, commands.

use std::io::{self, Read};

use trunkline_core::exchange::{Opening, Query};
use trunkline_core::position;
use trunkline_core::request::{Ask, Asked, ask, too_large};
use trunkline_core::store::{Position, TimelineId};
use trunkline_proto::connection::{Event, MessageKind};
use trunkline_proto::frame::{write_close, write_frame};
use trunkline_proto::handshake::{self, Rejection};
use trunkline_proto::message::{
    Command, CommandBody, Connect, ConnectLimits, ConnectReply, ReplyBody,
};
use trunkline_proto::{BadCommand, CloseCode, Encoding, ErrorCode};

use super::connection::{Conn, Phase};
use super::core::Core;
use crate::metrics::Limit;
use crate::session::{self, Session};
use crate::timer::{Tick, ticks};

/// The path of the client protocol.
const PATH: &str = "/v1/ws";

/// In development mode, the path where framing alone is at work: for conformance suites.
const ECHO: &str = "/v1/echo";

impl Core {
    /// Reads a connection, or leaves that to a later turn where this one has read enough of those
    /// without a session.
    pub(crate) fn read_in_turn(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        if conn.phase.is_opening() && !self.admission.take_one() {
            self.parts.metrics.limited(Limit::Newcomers);
            return self.admission.wait(slot, &mut conn.unread);
        }
        self.read(slot, conn, buffer);
    }

    /// Reads a connection once and handles what came.
    pub(super) fn read(&mut self, slot: u32, conn: &mut Conn, buffer: &mut [u8]) {
        if conn.leaving {
            return;
        }
        // The edge is spent: remember that there is something to read.
        if self.is_stalled() {
            return self.read_later(slot, conn);
        }
        if conn.out.len() > self.parts.limits.outbox_bytes && !matches!(conn.phase, Phase::Closing)
        {
            conn.paused = true;
            return;
        }
        self.parts.metrics.reads.one();
        if conn.tls.is_some() {
            return self.read_sealed(slot, conn, buffer);
        }
        let read = match conn.stream.read(buffer) {
            Ok(0) => return self.turn.drop_later(slot),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return self.read_later(slot, conn);
            }
            Err(_) => return self.turn.drop_later(slot),
        };
        if read == buffer.len() || conn.ended {
            self.read_later(slot, conn);
        }
        self.note_received(conn, read);
        self.input(slot, conn, &mut buffer[..read]);
        self.after_input(slot, conn);
    }

    /// Something came from the peer: so many bytes.
    pub(super) fn note_received(&mut self, conn: &mut Conn, read: usize) {
        self.parts.metrics.bytes_in.add(read as u64);
        conn.silent_since = self.turn.now();
        conn.pinged_at = 0;
    }

    /// Handles what came.
    pub(super) fn input(&mut self, slot: u32, conn: &mut Conn, input: &mut [u8]) {
        match &mut conn.phase {
            Phase::Closing => self.discard(slot, conn, input),
            Phase::Handshake(_) => self.upgrade(slot, conn, input),
            Phase::Upgraded | Phase::Echo | Phase::Open(_) => self.frames_in(slot, conn, input),
        }
    }

    /// Counts what a connection holds after its input, and watches a message that is not complete.
    pub(super) fn after_input(&mut self, slot: u32, conn: &mut Conn) {
        self.account(slot, conn);
        // The hand-shake has a deadline of its own.
        let timed = !matches!(conn.phase, Phase::Closing | Phase::Handshake(_));
        if !timed || !conn.is_mid_message() {
            conn.begun = 0;
        } else if conn.begun == 0 {
            conn.begun = self.turn.now().max(1);
            let ends = self.message_ends(conn);
            self.schedule(slot, conn, ends);
        } else if self.turn.now() >= self.message_ends(conn) {
            // The timer does not look at those of whom there is more to read.
            self.endless(slot, conn);
        }
    }

    /// Waits for the peer's Close; then nothing keeps the connection.
    fn discard(&mut self, slot: u32, conn: &mut Conn, mut input: &mut [u8]) {
        loop {
            match conn
                .framing
                .receive(&mut input, self.parts.limits.content.message_bytes)
            {
                Ok(Some(Event::Close(..))) => return self.turn.drop_later(slot),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn upgrade(&mut self, slot: u32, conn: &mut Conn, input: &mut [u8]) {
        let Phase::Handshake(head) = &mut conn.phase else {
            return;
        };
        let mut held = std::mem::take(head);
        let input = if held.is_empty() {
            input
        } else {
            held.extend_from_slice(input);
            &mut held[..]
        };
        match handshake::parse_request(input, self.parts.limits.header_bytes) {
            Ok(None) => conn.phase = Phase::Handshake(input.to_vec()),
            Ok(Some((upgrade, size))) if self.serves(&upgrade.path) => {
                if let Err(foreign) = self.parts.limits.origins.admit(&upgrade.caller) {
                    self.parts.metrics.limited(Limit::Origins);
                    return self.reject(slot, conn, &Rejection::foreign(foreign));
                }
                upgrade.accept(self.frames_of(slot, conn));
                conn.encoding = upgrade.encoding;
                if upgrade.path == ECHO {
                    self.set_phase(conn, Phase::Echo);
                    conn.deadline = 0;
                    self.schedule(
                        slot,
                        conn,
                        self.turn.now() + ticks(self.parts.limits.ping_interval),
                    );
                } else {
                    self.set_phase(conn, Phase::Upgraded);
                    conn.deadline = self.turn.now() + ticks(self.parts.limits.connect_timeout);
                    self.schedule(slot, conn, conn.deadline);
                }
                let rest = &mut input[size..];
                if !rest.is_empty() {
                    self.frames_in(slot, conn, rest);
                }
            }
            Ok(Some(_)) => self.reject(slot, conn, &Rejection::NOT_FOUND),
            Err(rejection) => self.reject(slot, conn, &rejection),
        }
    }

    fn serves(&self, path: &str) -> bool {
        path == PATH || (path == ECHO && self.parts.limits.echo)
    }

    pub(super) fn reject(&mut self, slot: u32, conn: &mut Conn, rejection: &Rejection) {
        self.parts.metrics.rejected_handshakes.one();
        if rejection.status == 431 {
            self.parts.metrics.limited(Limit::HeaderBytes);
        }
        self.trace_rejection(conn, rejection.status, rejection.message);
        self.last_words(slot, conn, |out| rejection.response(out));
    }

    fn frames_in(&mut self, slot: u32, conn: &mut Conn, mut input: &mut [u8]) {
        loop {
            match conn
                .framing
                .receive(&mut input, self.parts.limits.content.message_bytes)
            {
                Ok(None) => return,
                Ok(Some(Event::Message(kind, payload))) => {
                    conn.begun = 0;
                    if matches!(conn.phase, Phase::Echo) {
                        write_frame(self.frames_of(slot, conn), kind.opcode(), &payload, None);
                    } else {
                        self.message(slot, conn, kind, &payload);
                    }
                }
                Ok(Some(Event::Ping(_) | Event::Pong(_))) if self.floods(conn) => {
                    self.parts.metrics.limited(Limit::ControlFrames);
                    let reason = "too many control frames within a second";
                    return self.close(slot, conn, CloseCode::POLICY, reason);
                }
                Ok(Some(Event::Ping(payload))) => self.pong(slot, conn, &payload),
                Ok(Some(Event::Pong(payload))) => self.receipt(slot, conn, &payload),
                Ok(Some(Event::Close(code, _))) => {
                    // RFC 6455 §5.5.1: the answer names the same code.
                    let code = code.unwrap_or(CloseCode::NORMAL);
                    self.trace_close(conn, "client", code.0, "");
                    self.receipt_of_all(slot, conn);
                    self.last_words(slot, conn, |out| write_close(out, code, "", None));
                    // The peer has said its last: once ours is out, TCP may close.
                    self.flush(slot, conn);
                    if conn.out.len() == 0 {
                        self.turn.drop_later(slot);
                    }
                    return;
                }
                Err(error) => {
                    return self.close(slot, conn, error.close_code(), &error.to_string());
                }
            }
            if matches!(conn.phase, Phase::Closing) {
                return;
            }
        }
    }

    /// Counts a control frame; whether that is one too many.
    fn floods(&self, conn: &mut Conn) -> bool {
        let most = self.parts.limits.control_frames;
        !conn.controls.allows(self.turn.now(), most)
    }

    fn message(&mut self, slot: u32, conn: &mut Conn, kind: MessageKind, payload: &[u8]) {
        let expected = match conn.encoding {
            Encoding::Json => MessageKind::Text,
            Encoding::Proto => MessageKind::Binary,
        };
        if kind != expected {
            let reason = "JSON goes in text frames, protobuf in binary ones";
            return self.close(slot, conn, CloseCode::UNSUPPORTED, reason);
        }
        let mut count = 0;
        let most = self.parts.limits.frame_commands;
        let paid = self.pay_frame(conn, payload.len());
        conn.encoding.decode_commands(payload, |command| {
            count += 1;
            // A command before this one in the frame may have closed the connection.
            if matches!(conn.phase, Phase::Closing) || count > most {
                return;
            }
            self.parts.metrics.commands.one();
            if self.is_rated()
                && let Err(beyond) = paid.and_then(|()| self.pay_command(conn, &command))
            {
                let id = command.map_or_else(|bad| bad.id, |command| command.id);
                let text = "more than the limits allow was sent: wait a little";
                return self.fail_beyond(slot, conn, id, beyond, text);
            }
            match command {
                Ok(command) => self.command(slot, conn, &command),
                Err(BadCommand { id, code, message }) => {
                    self.fail(slot, conn, id, code, &message);
                }
            }
        });
        if count > most && !matches!(conn.phase, Phase::Closing) {
            self.parts.metrics.limited(Limit::FrameCommands);
            let text =
                format!("a frame holds at most {most} commands: the rest of this one was not read");
            self.fail(slot, conn, 0, ErrorCode::LimitExceeded, &text);
        }
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
        if self.ephemeral_command(slot, conn, id, &command.body) {
            return;
        }
        let Some(session) = conn.session() else {
            return;
        };
        let who = Ask {
            caller: session.caller(),
            ids: &self.parts.ids,
            epochs: &self.parts.epochs,
            limits: &limits.content,
            reply_to: self.reply_to(slot, conn, id),
        };
        match ask(&who, &command.body, &mut self.batch) {
            Ok(Asked::Queued) => {
                conn.in_flight += 1;
                // What is acknowledged waits for more of it: its answer says nothing of order.
                conn.writes += u32::from(!matches!(command.body, CommandBody::Ack(_)));
            }
            Ok(Asked::Reply(body)) => self.reply(slot, conn, id, body),
            Ok(Asked::Query(query)) => self.query(slot, conn, id, query),
            Err((code, message)) => self.fail(slot, conn, id, code, message),
        }
    }

    /// Asks a reader, once it is this question's turn.
    pub(crate) fn query(&mut self, slot: u32, conn: &mut Conn, id: u32, query: Query) {
        /// Nobody knows when a page comes: this is as long as a few take.
        const SOON: Tick = 1;
        if query.is_paged() && conn.pages >= self.parts.limits.pages {
            self.parts.metrics.limited(Limit::Pages);
            let text = "too many pages are asked for at a time: wait for some of them";
            return self.fail_beyond(slot, conn, id, ("max_pages", SOON), text);
        }
        let recovers = query.recovers();
        if self.enter_question(slot, conn, id, query) {
            return;
        }
        if recovers {
            // It cannot go on without: the client comes back with the position it has.
            self.close(slot, conn, CloseCode::OVERLOADED, "too many reads");
        } else {
            let text = "too many reads are waiting: try again";
            self.fail_beyond(slot, conn, id, ("reads", SOON), text);
        }
    }

    fn connect(&mut self, slot: u32, conn: &mut Conn, id: u32, request: &Connect<'_>) {
        let recovers = request.since.is_some() || request.resume;
        let full = self.recovering >= self.parts.limits.recovering;
        if conn.session().is_none() && recovers && full {
            // Before the token: checking it takes longer than all of this.
            self.parts.metrics.limited(Limit::Recovering);
            let reason = "too many clients recover at a time";
            return self.close(slot, conn, CloseCode::OVERLOADED, reason);
        }
        let grant = match self.grant(slot, request) {
            Ok(grant) => grant,
            Err(refusal) => return self.refuse(slot, conn, id, refusal),
        };
        let expires = grant.as_ref().map(|grant| grant.expires_ms);
        let opened = session::open(
            request,
            grant.as_ref(),
            (&self.parts.ids, &self.parts.epochs),
            self.sessions + 1,
        );
        let (mut session, since) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.fail(slot, conn, id, error.code, error.message);
                if let Some(code) = error.close {
                    self.close(slot, conn, code, error.message);
                }
                return;
            }
        };
        if conn.session().is_some() {
            return self.connect_again(slot, conn, id, (session.id, grant));
        }
        let resumes = request.resume && since.is_none();
        if let Some(sessions) = &self.parts.shared.user_sessions
            && !sessions.enter(session.id)
        {
            self.parts.metrics.limited(Limit::UserConnections);
            let text = "this user has as many sessions as one may have: close one of them";
            self.fail(slot, conn, id, ErrorCode::LimitExceeded, text);
            return self.close(slot, conn, CloseCode::CONNECTION_LIMIT, text);
        }
        self.sessions += 1;
        conn.batch = request.batch;
        self.users.add(session.id, slot);
        let device = session.device_mark(&self.parts.ids);
        let (directory, shard) = (&self.parts.directory, self.parts.index);
        session.live_from = directory.enter(session.id, shard, device);
        self.parts.hub.arrived(session.id);
        session.catching_up = since.is_some() || resumes;
        session.expires = self.permit(slot, grant);
        let device = session::device_key(request, &self.parts.ids, &session);
        if let Some(key) = device {
            self.resuming.begin(slot, key);
        }
        self.parts.metrics.sessions.one();
        let opening = match since {
            None if resumes => Some((Position::ZERO, self.opening(&session, device, expires))),
            None => {
                let reply = self.connect_reply(&session, session.live_from, expires);
                self.reply(slot, conn, id, ReplyBody::Connect(reply));
                None
            }
            Some(since) => Some((since, self.opening(&session, None, expires))),
        };
        let user = session.id;
        self.set_phase(conn, Phase::Open(Box::new(session)));
        let blocked = conn.out.blocked;
        conn.deadline = if blocked {
            self.turn.now() + ticks(self.parts.limits.write_timeout)
        } else {
            0
        };
        self.watch_new(slot, conn);
        if let Some((since, opening)) = opening {
            let connect = Some(Box::new(opening));
            self.query(
                slot,
                conn,
                id,
                Query::CatchUp {
                    user,
                    since,
                    connect,
                },
            );
        }
    }

    pub(super) fn connect_reply(
        &self,
        session: &Session,
        pos: Position,
        expires: Option<u64>,
    ) -> ConnectReply<'static> {
        ConnectReply {
            session: session.name(self.parts.index).into(),
            user: session.names.user().to_owned().into(),
            device: session.names.device().to_owned().into(),
            pos: position::text(self.parts.epochs.token(pos)),
            recovered: false,
            time: self.parts.hub.clock.now(),
            ping_ms: self.ping_ms(),
            limits: self.connect_limits(),
            expires,
            unsubscribed: Vec::new(),
        }
    }

    fn opening(
        &self,
        session: &Session,
        resumes: Option<TimelineId>,
        expires: Option<u64>,
    ) -> Opening {
        Opening {
            resumes,
            session: session.name(self.parts.index),
            user: session.names.user().to_owned(),
            device: session.names.device().to_owned(),
            time: self.parts.hub.clock.now(),
            ping_ms: self.ping_ms(),
            limits: self.connect_limits(),
            expires,
        }
    }

    fn ping_ms(&self) -> u32 {
        u32::try_from(self.parts.limits.ping_interval.as_millis()).unwrap_or(u32::MAX)
    }

    fn connect_limits(&self) -> ConnectLimits {
        ConnectLimits {
            message_bytes: self.parts.limits.content.message_bytes as u64,
            text_bytes: self.parts.limits.content.text_bytes as u64,
            key_bytes: self.parts.limits.content.key_bytes as u64,
            page: self.parts.limits.content.page,
        }
    }
}
