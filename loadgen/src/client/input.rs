//! What a thread hears: sockets that are ready, the gateway's messages.

use std::io::Read;

use trunkline_proto::connection::Event;
use trunkline_proto::frame::{Opcode, write_frame};
use trunkline_proto::handshake;
use trunkline_proto::message::{self, Reply, ReplyBody, ServerMessage};

use super::Client;
use super::catch_up::SYNC_ID;
use super::conn::{Conn, State};
use super::output::CONNECT_ID;
use super::read_back::is_history;
use crate::check::Via;
use crate::clock::Nanos;
use crate::stats::Metric;

/// Longest message that is taken from a gateway: a page of history is the longest there is.
const MAX_MESSAGE: usize = 16 << 20;

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
                Ok(Some(why)) | Err(why) => return self.failed(now, device, &why.to_string()),
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
        let key = handshake::key_from(opening.key);
        match handshake::parse_response(&opening.head, &key, encoding) {
            Ok(None) => {}
            Ok(Some(size)) => {
                let mut head = std::mem::take(&mut opening.head);
                self.authenticate(now, device);
                self.frames(now, device, &mut head[size..]);
            }
            Err(why) => {
                let said = String::from_utf8_lossy(&opening.head);
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
        match &reply.body {
            ReplyBody::Send(send) => {
                if let Some(intended) = self.job.checker.acknowledged(now, id, send) {
                    self.latencies.record(Metric::Ack, intended, now);
                    let in_time = now <= self.sending.1;
                    self.count().acknowledged_in_time += u64::from(in_time);
                }
            }
            ReplyBody::Connect(connect) if id == CONNECT_ID => {
                self.opened(now, device);
                self.at(device, &connect.pos);
            }
            ReplyBody::Sync(page) if id == SYNC_ID => self.caught(now, device, page),
            ReplyBody::History(page) if is_history(id) => self.page(now, id, Ok(page)),
            ReplyBody::Error(error) => {
                let why = format!("{} {}: {}", error.code, error.name, error.message);
                if is_history(id) {
                    self.page(now, id, Err(&why));
                } else if id == SYNC_ID {
                    self.not_caught(device, why);
                } else if id == CONNECT_ID {
                    self.failed(now, device, &why);
                } else if id == 0 {
                    self.count().command_errors += 1;
                    self.trouble.get_or_insert(why);
                } else {
                    self.trouble.get_or_insert(why);
                    self.job.checker.refused(now, id);
                }
            }
            _ => self.count().command_errors += 1,
        }
    }

    fn opened(&mut self, now: Nanos, device: u32) {
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        if conn.state != State::Authenticating {
            return;
        }
        conn.state = State::Open;
        if let Some(opening) = conn.opening.take() {
            self.latencies.record(Metric::Auth, opening.since, now);
            self.latencies.record(Metric::Connect, opening.begun, now);
        }
        self.connecting -= 1;
        self.count().sessions_opened += 1;
        self.count().sessions += 1;
        self.job.checker.opened(now, device);
    }

    /// A connection is gone.
    pub(super) fn failed(&mut self, _now: Nanos, device: u32, why: &str) {
        let Some(conn) = self.conns[device as usize].take() else {
            return;
        };
        self.alive -= 1;
        if let Some(sealing) = &mut self.sealing {
            sealing.end(device);
        }
        match conn.state {
            State::Closing => {}
            State::Open => {
                self.count().disconnects += 1;
                self.count().sessions -= 1;
                self.job.checker.gone(device);
                self.trouble.get_or_insert_with(|| why.to_owned());
            }
            _ => {
                self.connecting -= 1;
                self.count().connect_failures += 1;
                self.trouble.get_or_insert_with(|| why.to_owned());
            }
        }
    }
}

/// Notes that nothing comes behind what can be read now.
fn conn_ended(conn: &mut Option<Conn>) {
    if let Some(conn) = conn {
        conn.ended = true;
    }
}
