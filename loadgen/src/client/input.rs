//! What a thread hears: sockets that are ready, the gateway's messages.

use std::io::Read;

use trunkline_proto::connection::Event;
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::handshake;
use trunkline_proto::message::{self, Reply, ReplyBody, ServerMessage};
use trunkline_proto::{CloseCode, ErrorCode};

use super::Client;
use super::catch_up::SYNC_ID;
use super::conn::{Conn, Opening, State};
use super::output::CONNECT_ID;
use super::read_back::is_history;
use crate::check::Via;
use crate::clock::Nanos;
use crate::stats::Metric;

/// Longest message that is taken from a gateway: a page of history is the longest there is.
const MAX_MESSAGE: usize = 16 << 20;

/// Longest answer to an upgrade that is taken.
const HEAD_MAX: usize = 64 << 10;

impl Client {
    pub(super) fn ready(&mut self, device: u32, event: &mio::event::Event, buffer: &mut [u8]) {
        let now = self.job.clock.now();
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        if conn.state == State::Connecting && event.is_writable() {
            match conn.stream.take_error() {
                Ok(None) if conn.stream.peer_addr().is_ok() => self.upgrade(now, device),
                Ok(None) => return,
                Ok(Some(why)) | Err(why) => {
                    self.count().refused += 1;
                    return self.failed(now, device, &why.to_string());
                }
            }
        } else if event.is_writable() && conn.blocked {
            conn.blocked = false;
            self.flush(now, device);
        }
        if event.is_read_closed() {
            // The end may come in one event with data, and then no further event tells of it.
            conn_ended(&mut self.conns[device as usize]);
        }
        if event.is_readable() || event.is_error() {
            self.readable(device, buffer);
        }
    }

    /// Reads once; a connection with more comes again next turn.
    pub(super) fn readable(&mut self, device: u32, buffer: &mut [u8]) {
        let now = self.job.clock.now();
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        if conn.state == State::Connecting {
            return;
        }
        if self.sealing.is_some() {
            return self.read_sealed(now, device, buffer);
        }
        let read = match conn.stream.read(buffer) {
            Ok(0) => return self.failed(now, device, "the gateway closed the connection"),
            Ok(read) => read,
            Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {
                return self.unread.push(device);
            }
            Err(why) => return self.failed(now, device, &why.to_string()),
        };
        if read == buffer.len() || conn.ended {
            self.unread.push(device);
        }
        self.count().bytes_in += read as u64;
        self.heard(now, device, &mut buffer[..read]);
    }

    /// Handles what came.
    pub(super) fn heard(&mut self, now: Nanos, device: u32, input: &mut [u8]) {
        let state = self.conns[device as usize].as_ref().map(|conn| conn.state);
        if state == Some(State::Upgrading) {
            self.answer(now, device, input);
        } else {
            self.frames(now, device, input);
        }
    }

    /// The answer to the upgrade, in one piece or several.
    fn answer(&mut self, now: Nanos, device: u32, input: &[u8]) {
        let encoding = self.job.encoding;
        let Some(opening) = self.opening(device) else {
            return;
        };
        opening.head.extend_from_slice(input);
        let size = opening.head.len();
        let key = handshake::key_from(opening.key);
        match handshake::parse_response(&opening.head, &key, encoding) {
            Ok(None) if size > HEAD_MAX => {
                let why = format!("the answer to the upgrade has no end after {size} bytes");
                self.failed(now, device, &why);
            }
            Ok(None) => {}
            Ok(Some(size)) => {
                let mut head = std::mem::take(&mut opening.head);
                self.authenticate(now, device);
                self.frames(now, device, &mut head[size..]);
            }
            Err(why) => {
                let said = String::from_utf8_lossy(&opening.head).into_owned();
                self.count().refused_http += 1;
                if let Some(seconds) = retry_after(&said) {
                    self.reconnects.heard_seconds(device, seconds);
                }
                let body = said
                    .rsplit("\r\n\r\n")
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                self.failed(now, device, &format!("{why}: {body}"));
            }
        }
    }

    fn frames(&mut self, now: Nanos, device: u32, mut input: &mut [u8]) {
        let encoding = self.job.encoding;
        loop {
            let mask = self.next_mask();
            let Some(conn) = &mut self.conns[device as usize] else {
                return;
            };
            let event = match conn.framing.receive(&mut input, MAX_MESSAGE) {
                Ok(None) => return,
                Ok(Some(event)) => event,
                Err(why) => return self.failed(now, device, &format!("a broken frame: {why}")),
            };
            match event {
                Event::Ping(payload) => {
                    self.job.checker.counters.pings += 1;
                    write_frame(&mut conn.out, Opcode::Pong, &payload, mask);
                    self.mark_dirty(device);
                }
                Event::Pong(_) => {}
                Event::Close(code, reason) => {
                    let code = code.map_or(0, |code| code.0);
                    self.closed_with(device, code);
                    return self.failed(now, device, &format!("closed with {code} {reason}"));
                }
                Event::Message(_, payload) => {
                    let read = encoding
                        .decode_server(&payload, |message| self.message(now, device, &message));
                    if let Err(why) = read {
                        return self.failed(now, device, &why.to_string());
                    }
                }
            }
        }
    }

    fn message(&mut self, now: Nanos, device: u32, message: &ServerMessage<'_>) {
        match message {
            ServerMessage::Reply(reply) => self.reply(now, device, reply),
            ServerMessage::Push(push) => {
                // A gap is fetched from the position before it.
                self.event(now, device, &push.event, Via::Push);
                let pos = match &push.event {
                    message::Event::Gap(gap) => Some(&gap.pos),
                    _ => push.pos.as_ref(),
                };
                if let Some(pos) = pos {
                    self.at(device, pos);
                }
            }
        }
    }

    fn reply(&mut self, now: Nanos, device: u32, reply: &Reply<'_>) {
        let id = reply.id;
        if self.is_maker(device) && id != CONNECT_ID {
            return self.maker_heard(now, id, &reply.body);
        }
        match &reply.body {
            ReplyBody::Send(send) => {
                if let Some(intended) = self.job.checker.acknowledged(now, id, send) {
                    self.latencies.record(Metric::Ack, intended, now);
                    self.record_in_storm(device, intended, now, true);
                    let in_time = now <= self.sending.1;
                    self.count().acknowledged_in_time += u64::from(in_time);
                }
            }
            ReplyBody::Connect(connect) if id == CONNECT_ID => {
                self.at(device, &connect.pos);
                self.opened(now, device, connect.recovered);
            }
            ReplyBody::Sync(page) if id == SYNC_ID => self.caught(now, device, page),
            ReplyBody::History(page) if is_history(id) => self.page(now, id, Ok(page)),
            ReplyBody::Error(error) => {
                let why = format!("{} {}: {}", error.code, error.name, error.message);
                if is_history(id) {
                    self.page(now, id, Err((error, &why)));
                } else if id == SYNC_ID {
                    self.not_caught(device, &why);
                } else if id == CONNECT_ID {
                    let expired = error.code == ErrorCode::PositionExpired.code();
                    if expired && self.reconnects.forget_position(device) {
                        // Without it the session is open all the same, and history has the rest.
                        return self.ask_for_session(device);
                    }
                    self.failed(now, device, &why);
                } else if id == 0 {
                    self.count().command_errors += 1;
                    self.note_trouble(&why);
                } else {
                    self.note_trouble(&why);
                    self.job.checker.refused(now, id);
                }
            }
            _ => self.count().command_errors += 1,
        }
    }

    fn opened(&mut self, now: Nanos, device: u32, recovered: bool) {
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        if conn.state != State::Authenticating {
            return;
        }
        conn.state = State::Open;
        if self.making.goes_on() {
            conn.opening = None;
            self.connecting -= 1;
            return self.maker_opened(now);
        }
        let returned = self.returned(now, device);
        let again = returned.as_ref().is_some_and(|it| it.again);
        if let Some(opening) = conn_opened(&mut self.conns[device as usize]) {
            if again {
                self.latencies.record(Metric::Resume, opening.begun, now);
            } else {
                self.latencies.record(Metric::Auth, opening.since, now);
                self.latencies.record(Metric::Connect, opening.begun, now);
            }
        }
        self.connecting -= 1;
        self.count().sessions += 1;
        let resumed = recovered && returned.as_ref().is_some_and(|it| it.asked);
        self.count().sessions_opened += u64::from(!again);
        self.count().resumed += u64::from(again && resumed);
        self.count().not_recovered += u64::from(again && !resumed);
        match resumed {
            true => self.job.checker.back(now, device),
            false => self.job.checker.opened(now, device),
        }
        if let Some(returned) = returned {
            self.make_up(now, device, &returned);
        }
    }

    /// Notes why a session is closed, where that is the gateway's state and not the session's.
    fn closed_with(&mut self, device: u32, code: u16) {
        let count = self.count();
        count.overloaded += u64::from(code == CloseCode::OVERLOADED.0);
        count.no_pong += u64::from(code == CloseCode::NO_PONG.0);
        if CloseCode(code).reconnect() {
            self.reconnects.heard_close(device);
        }
    }

    /// Takes a connection out of its place and forgets what belongs to it.
    pub(super) fn take_conn(&mut self, device: u32) -> Option<Conn> {
        let conn = self.conns[device as usize].take()?;
        self.alive -= 1;
        if let Some(sealing) = &mut self.sealing {
            sealing.end(device);
        }
        Some(conn)
    }

    /// A connection is gone.
    pub(super) fn failed(&mut self, now: Nanos, device: u32, why: &str) {
        let Some(conn) = self.take_conn(device) else {
            return;
        };
        match conn.state {
            State::Closing => {}
            _ if self.is_maker(device) => self.not_made(why),
            State::Leaving => self.ended(device, &conn),
            State::Open => {
                self.count().disconnects += 1;
                self.count().sessions -= 1;
                let chaos = self.job.board.is_chaos(now);
                if !self.broke(now, device, &conn) {
                    self.count().gone += 1;
                    self.job.checker.gone(device);
                }
                if !chaos {
                    self.note_trouble(why);
                }
            }
            _ => {
                self.connecting -= 1;
                if !self.try_again(now, device) {
                    self.count().connect_failures += 1;
                    self.note_trouble(why);
                }
            }
        }
    }
}

/// What a connection needed until its session was open.
fn conn_opened(conn: &mut Option<Conn>) -> Option<Box<Opening>> {
    conn.as_mut()?.opening.take()
}

/// The seconds of a Retry-After header.
fn retry_after(head: &str) -> Option<u64> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    value.trim().parse().ok()
}

/// Notes that nothing comes behind what can be read now.
fn conn_ended(conn: &mut Option<Conn>) {
    if let Some(conn) = conn {
        conn.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_found_whatever_its_case() {
        for (head, seconds) in [
            ("HTTP/1.1 503 x\r\nRetry-After: 12\r\n\r\n", Some(12)),
            (
                "HTTP/1.1 503 x\r\nContent-Length: 3\r\nretry-after:7\r\n\r\nno!",
                Some(7),
            ),
            ("HTTP/1.1 503 x\r\nRetry-After: soon\r\n\r\n", None),
            ("HTTP/1.1 503 x\r\n\r\n", None),
        ] {
            assert_eq!(retry_after(head), seconds, "{head}");
        }
    }
}
