//! What a thread says: connections, sends, acknowledgements.

use std::io::Write;

use compact_str::CompactString;
use mio::{Interest, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use trunkline_proto::CloseCode;
use trunkline_proto::connection::{Connection as Framing, Role};
use trunkline_proto::frame::{Opcode, write_close, write_with};
use trunkline_proto::handshake;
use trunkline_proto::message::{Ack, Command, CommandBody, Connect, Send};

use super::Client;
use super::conn::{Conn, Opening, State};
use crate::check::Marks;
use crate::clock::Nanos;
use crate::schedule::text::Origin;
use crate::schedule::{Arrival, mix};
use crate::stats::Metric;

/// The command id of `connect`: beyond the ids of sends.
pub(super) const CONNECT_ID: u32 = 0x00ff_ffff;

/// Sessions closed per turn.
const CLOSES: u32 = 256;

impl Client {
    pub(super) fn is_open(&self, device: u32) -> bool {
        self.conns[device as usize]
            .as_ref()
            .is_some_and(|conn| conn.state == State::Open)
    }

    pub(super) fn opening(&mut self, device: u32) -> Option<&mut Opening> {
        self.conns[device as usize].as_mut()?.opening.as_deref_mut()
    }

    /// Begins a device's connection.
    pub(super) fn connect(&mut self, now: Nanos, device: u32) {
        let away = self.reconnects.is_away(device);
        match away {
            true => self.count().reconnects += 1,
            false => self.count().connects += 1,
        }
        let begun = match &mut self.sealing {
            Some(sealing) => sealing.begin(device).map_err(std::io::Error::other),
            None => Ok(()),
        };
        match begun.and_then(|()| self.open_socket(device)) {
            Ok(stream) => {
                let (high, low) = (
                    mix(self.job.seed ^ u64::from(device)),
                    mix(u64::from(device)),
                );
                let mut key = [0; 16];
                key[..8].copy_from_slice(&high.to_be_bytes());
                key[8..].copy_from_slice(&low.to_be_bytes());
                self.connecting += 1;
                self.alive += 1;
                self.begun.push_back((now, device));
                self.conns[device as usize] = Some(Conn {
                    stream,
                    framing: Framing::new(Role::Client),
                    state: State::Connecting,
                    opening: Some(Box::new(Opening {
                        key,
                        head: Vec::new(),
                        again: away,
                        begun: now,
                        since: now,
                    })),
                    out: Vec::new(),
                    dirty: false,
                    blocked: false,
                    ended: false,
                    pos: CompactString::default(),
                    catching_up: None,
                });
            }
            Err(why) => {
                if !self.try_again(now, device) {
                    self.count().connect_failures += 1;
                    self.note_trouble(&format!("cannot connect: {why}"));
                }
            }
        }
    }

    fn open_socket(&self, device: u32) -> std::io::Result<mio::net::TcpStream> {
        let target = self.job.target;
        let socket = Socket::new(
            Domain::for_address(target),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.job.source {
            // The port is chosen at connect, with the target known: 28,000 per source and target
            // instead of 28,000 per source (ip(7)).
            nix::sys::socket::setsockopt(
                &socket,
                nix::sys::socket::sockopt::IpBindAddressNoPort,
                &true,
            )?;
            let n = device * self.job.threads + self.job.thread;
            let address = std::net::SocketAddrV4::new(source.address(n), 0);
            socket.bind(&SockAddr::from(address))?;
        }
        match socket.connect(&target.into()) {
            Err(why) if why.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(why);
            }
            _ => {}
        }
        let mut stream = mio::net::TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(device as usize), both)?;
        Ok(stream)
    }

    /// TCP stands: asks for the upgrade.
    pub(super) fn upgrade(&mut self, now: Nanos, device: u32) {
        let job = &self.job;
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        let Some(opening) = &mut conn.opening else {
            return;
        };
        if !opening.again {
            self.latencies.record(Metric::Tcp, opening.since, now);
        }
        opening.since = now;
        conn.state = State::Upgrading;
        let key = handshake::key_from(opening.key);
        handshake::write_request(&mut conn.out, &job.host, &job.path, &key, job.encoding);
        self.mark_dirty(device);
    }

    /// The upgrade stands: opens the session.
    pub(super) fn authenticate(&mut self, now: Nanos, device: u32) {
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        let Some(opening) = &mut conn.opening else {
            return;
        };
        if !opening.again {
            self.latencies.record(Metric::Upgrade, opening.since, now);
        }
        opening.since = now;
        conn.state = State::Authenticating;
        self.ask_for_session(device);
    }

    /// Asks for a session, from where the device was, if it was there before.
    pub(super) fn ask_for_session(&mut self, device: u32) {
        let since = self.reconnects.since(device);
        let part = &self.job.checker.part;
        let (mut user, mut name) = (String::new(), String::new());
        if self.is_maker(device) {
            user = self.maker_name();
            name.push_str("d0");
        } else {
            part.write_user(part.user_of(device), &mut user);
            part.write_device(device, &mut name);
        }
        let token = self.job.signer.as_ref().and_then(|signer| {
            // Without one the gateway says what is missing.
            signer.token(&user).ok()
        });
        let connect = Connect {
            token: token.map(Into::into),
            user: Some(user.into()),
            device: Some(name.into()),
            since: since.as_deref().map(Into::into),
            ..Connect::default()
        };
        self.command(device, CONNECT_ID, CommandBody::Connect(connect));
    }

    /// Sends a message whose time has come, or keeps it until its session is back.
    pub(super) fn send(&mut self, intended: Nanos, arrival: Arrival) {
        self.count().scheduled += 1;
        let device = self.sender_of(arrival);
        let now = self.job.clock.now();
        if self.is_open(device) {
            if self.hand_over(now, intended, arrival, device) {
                self.departing.push(intended);
            }
        } else if self.reconnects.is_away(device) && self.held.keep(device, intended, arrival) {
            // This side was as late as that; the rest is waiting for the session.
            self.latencies.record(Metric::SendLag, intended, now);
            self.count().held += 1;
        } else {
            self.count().skipped += 1;
        }
    }

    /// Hands a message to its open session; false where too many are under way.
    pub(super) fn hand_over(
        &mut self,
        now: Nanos,
        intended: Nanos,
        arrival: Arrival,
        device: u32,
    ) -> bool {
        if let Some(membership) = self.membership(arrival.stream) {
            let send = (membership, arrival.keyed);
            return self.hand_over_in_group(now, intended, send, device);
        }
        let Some(departure) = self.job.checker.depart(now, arrival, intended, device) else {
            self.count().skipped += 1;
            return false;
        };
        self.write_send(device, departure.id, departure.origin, arrival.keyed);
        true
    }

    /// Writes the command of a send.
    pub(super) fn write_send(&mut self, device: u32, id: u32, origin: Origin, keyed: bool) {
        let (mut name, mut text, mut key) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.text),
            std::mem::take(&mut self.key),
        );
        let checker = &self.job.checker;
        let (user, slot) = checker.part.stream_parts(origin.stream);
        name.clear();
        checker
            .part
            .write_user(checker.part.contact(user, slot), &mut name);
        checker.texts.write(&checker.part, origin, &mut text);
        if keyed {
            checker
                .texts
                .write_key(&checker.part, origin.stream, origin.counter, &mut key);
        }
        let send = Send {
            user: Some((&*name).into()),
            key: keyed.then_some((&*key).into()),
            text: Some((&*text).into()),
            ..Send::default()
        };
        self.command(device, id, CommandBody::Send(send));
        (self.name, self.text, self.key) = (name, text, key);
    }

    /// Acknowledges what has arrived, and what was read meanwhile.
    pub(super) fn acknowledge(&mut self, now: Nanos) {
        let Some(read_after) = self.job.receipts else {
            return;
        };
        while let Some(&(at, reader, device)) = self.to_read.front()
            && at <= now
        {
            self.to_read.pop_front();
            self.acknowledge_one(reader, device, true);
        }
        for (reader, device) in std::mem::take(&mut self.fresh) {
            self.is_fresh[reader as usize] = false;
            self.acknowledge_one(reader, device, false);
            self.to_read.push_back((now + read_after, reader, device));
        }
    }

    fn acknowledge_one(&mut self, reader: u32, device: u32, read: bool) {
        if !self.is_open(device) {
            return;
        }
        if let Some(membership) = self.membership(reader) {
            return self.acknowledge_in_group(membership, device, read);
        }
        if let Some(marks) = self.job.checker.acknowledge(reader, read) {
            self.write_ack(reader, device, marks, read);
        }
    }

    /// Acknowledges again what had been, now that a session is back: the last may not have arrived.
    /// What has been read is said when the time for that has passed again.
    pub(super) fn acknowledge_again(&mut self, now: Nanos, device: u32) {
        let Some(read_after) = self.job.receipts else {
            return;
        };
        self.acknowledge_groups_again(now + read_after, device);
        let part = &self.job.checker.part;
        let user = part.user_of(device);
        for reader in part.stream(user, 0)..part.stream(user + 1, 0) {
            if let Some(marks) = self.job.checker.acknowledged_so_far(reader) {
                self.write_ack(reader, device, marks, marks.read > 0);
                self.to_read.push_back((now + read_after, reader, device));
            }
        }
    }

    fn write_ack(&mut self, reader: u32, device: u32, marks: Marks, read: bool) {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        let part = &self.job.checker.part;
        let (user, slot) = part.stream_parts(reader);
        part.write_conversation(user, part.contact(user, slot), &mut name);
        let ack = Ack {
            conversation: (&*name).into(),
            delivered: Some(u64::from(marks.delivered)),
            read: read.then_some(u64::from(marks.read)),
        };
        // Without an id: only a refusal is answered.
        self.command(device, 0, CommandBody::Ack(ack));
        self.name = name;
    }

    /// Appends a command to a device's output.
    pub(super) fn command(&mut self, device: u32, id: u32, body: CommandBody<'_>) {
        let mask = self.next_mask();
        let encoding = self.job.encoding;
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        let opcode = match encoding {
            trunkline_proto::Encoding::Json => Opcode::Text,
            trunkline_proto::Encoding::Proto => Opcode::Binary,
        };
        let command = Command { id, body };
        write_with(&mut conn.out, opcode, mask, |out| {
            encoding.encode_command(&command, out)
        });
        self.mark_dirty(device);
    }

    pub(super) fn mark_dirty(&mut self, device: u32) {
        if let Some(conn) = &mut self.conns[device as usize]
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(device);
        }
    }

    pub(super) fn flush_all(&mut self, now: Nanos) {
        for device in std::mem::take(&mut self.dirty) {
            if let Some(conn) = &mut self.conns[device as usize] {
                conn.dirty = false;
            }
            self.flush(now, device);
        }
    }

    pub(super) fn flush(&mut self, now: Nanos, device: u32) {
        let Some(conn) = &mut self.conns[device as usize] else {
            return;
        };
        if conn.blocked {
            return;
        }
        if self.sealing.is_some() {
            return self.flush_sealed(now, device);
        }
        let mut sent = 0;
        while sent < conn.out.len() {
            match conn.stream.write(&conn.out[sent..]) {
                Ok(n) => sent += n,
                Err(why) if why.kind() == std::io::ErrorKind::WouldBlock => {
                    conn.blocked = true;
                    break;
                }
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
                Err(why) => return self.failed(now, device, &why.to_string()),
            }
        }
        conn.out.drain(..sent);
        // Most connections are idle most of the time: they hold no buffer.
        if conn.out.is_empty() && conn.out.capacity() > 0 {
            conn.out = Vec::new();
        }
        self.count().bytes_out += sent as u64;
    }

    /// GatewayAccess sessions the way RFC 6455 asks, from that of a device on; the next device where some
    /// are left: reading must not starve.
    pub(super) fn close_some(&mut self, from: u32) -> Option<u32> {
        let end = (from + CLOSES).min(self.conns.len() as u32);
        for device in from..end {
            let mask = self.next_mask();
            let Some(conn) = &mut self.conns[device as usize] else {
                continue;
            };
            if conn.state == State::Open {
                write_close(&mut conn.out, CloseCode::NORMAL, "", mask);
                conn.state = State::Closing;
                self.count().sessions -= 1;
                self.mark_dirty(device);
            } else {
                self.conns[device as usize] = None;
                self.alive -= 1;
                if let Some(sealing) = &mut self.sealing {
                    sealing.end(device);
                }
            }
        }
        (end < self.conns.len() as u32).then_some(end)
    }
}
