//! MQTT 5 or 3.1.1 over TCP or WebSocket, with quality of service 0 or 1.
//!
//! Each user subscribes to a topic of its own, and a message is published to the topic of its
//! recipient. Sessions begin anew and end with their connection.

mod packet;

use std::borrow::Cow;
use std::collections::VecDeque;

use compact_str::CompactString;
use trunkline_proto::connection::{Connection as Framing, Role};
use trunkline_proto::frame::{Opcode, write_with};
use trunkline_proto::handshake::parse_response_for;

use super::text::{Heard, Outgoing, TextDriver};
use super::websocket::{self, Masks, Upgrade};
use super::{Broken, Driver, Event, Line};
use crate::clock::{Nanos, SECOND};
use crate::scenario::protocol::wording::UpgradeWords;
use crate::scenario::protocol::words::{Filling, OF_USER, Words};
use crate::scenario::protocol::{MqttVersion, Protocol};
use packet::{Packet, Welcome};

/// The packet identifier of SUBSCRIBE. Those of messages follow.
const SUBSCRIBE: u16 = 1;

/// The most messages of one session that wait because the server takes no more at a time.
const WAITING_MAX: usize = 1_024;

/// The most messages of one session without an acknowledgement: half of the packet identifiers.
const UNACKED_MAX: usize = 1 << 15;

/// The part of the keep-alive after which a client pings: three quarters.
const PING_AT: (Nanos, Nanos) = (3, 4);

/// The sub-protocol of MQTT over WebSocket (§6).
const SUBPROTOCOL: &str = "mqtt";

/// The driver of MQTT.
#[derive(Debug)]
pub(crate) struct Mqtt {
    /// The upgrade to WebSocket; `None` over TCP.
    upgrade: Option<UpgradeWords>,
    host: String,
    path: String,
    topic: Words,
    qos: u8,
    version: MqttVersion,
    keep_alive: u16,
    masks: Masks,
    /// Buffers that are used again.
    scratch: Vec<u8>,
    name: Vec<u8>,
}

/// What a connection needs until its session is open.
#[derive(Debug)]
pub(crate) struct Opening {
    upgrade: Option<Upgrade>,
    /// The name of the user, which is the client identifier.
    user: String,
    welcomed: bool,
}

/// What a connection keeps.
#[derive(Debug)]
pub(crate) struct Session {
    framing: Framing,
    /// The beginning of a packet that is incomplete.
    partial: Vec<u8>,
    /// Whether `partial` holds whole packets that came behind CONNACK.
    fresh: bool,
    /// The messages without an acknowledgement, by packet identifier, in the order of sending.
    unacked: VecDeque<(u16, u32)>,
    /// Packets that wait until the server takes more; at most [`WAITING_MAX`].
    waiting: VecDeque<Vec<u8>>,
    /// How many messages the server takes now without an acknowledgement.
    room: u16,
    /// The packet identifier of the last message.
    last: u16,
}

/// Bytes of the server, and how far they have been read.
#[derive(Debug)]
pub(crate) struct Said<'b> {
    bytes: Cow<'b, [u8]>,
    at: usize,
}

impl Mqtt {
    /// Makes the driver of a thread. `websocket` or TCP, as the target says.
    ///
    /// # Errors
    /// The table of the scenario has a mistake, which validation names.
    pub(crate) fn new(
        of: &Protocol,
        websocket: bool,
        (host, path): (String, String),
        seed: u64,
    ) -> Result<Self, String> {
        let upgrade = UpgradeWords::compile(of).ok_or("[protocol] has a mistake")?;
        let offered = of.subprotocol.clone().or(Some(SUBPROTOCOL.into()));
        let seconds = of.keep_alive.map_or(60, |it| it.0.as_secs());
        Ok(Self {
            upgrade: websocket.then_some(UpgradeWords {
                subprotocol: offered,
                ..upgrade
            }),
            host,
            path,
            topic: Words::parse(of.topic(), OF_USER)?,
            qos: of.qos(),
            version: of.version.unwrap_or_default(),
            keep_alive: u16::try_from(seconds).unwrap_or(u16::MAX),
            masks: Masks::new(seed),
            scratch: Vec::new(),
            name: Vec::new(),
        })
    }

    /// Appends the packets of `scratch`, in a frame over WebSocket.
    fn flush(&mut self, out: &mut Vec<u8>) {
        match &self.upgrade {
            None => out.extend_from_slice(&self.scratch),
            Some(_) => write_with(out, Opcode::Binary, self.masks.next(), |out| {
                out.extend_from_slice(&self.scratch);
            }),
        }
        self.scratch.clear();
    }

    fn topic_of(&mut self, user: &str) {
        self.name.clear();
        let with = Filling {
            user,
            ..Filling::default()
        };
        self.topic.write(&with, &mut self.name);
    }

    /// Judges the answer to CONNECT.
    fn judge(&self, welcome: Welcome) -> Result<(), String> {
        let Welcome {
            reason,
            qos_max,
            keep_alive,
            ..
        } = welcome;
        if reason != 0 {
            return Err(format!(
                "the server refuses the connection: reason 0x{reason:02x}"
            ));
        }
        if qos_max < self.qos {
            return Err("the server has quality of service 0 only: write qos = 0".into());
        }
        match keep_alive.filter(|seconds| *seconds < self.keep_alive) {
            Some(seconds) => Err(format!(
                "the server asks for a keep-alive of {seconds} s: write keep_alive = \"{seconds}s\""
            )),
            None => Ok(()),
        }
    }

    /// Takes bytes while the server has not answered CONNECT. Returns whether it has now.
    fn welcomed(&self, session: &mut Session, bytes: &[u8]) -> Result<bool, String> {
        session.partial.extend_from_slice(bytes);
        let (welcome, size) = match packet::parse(self.version, &session.partial)? {
            None => return Ok(false),
            Some((Packet::Connack(welcome), size)) => (welcome, size),
            Some((other, _)) => return Err(format!("{other:?} in place of CONNACK")),
        };
        self.judge(welcome)?;
        session.partial.drain(..size);
        session.fresh = !session.partial.is_empty();
        session.room = welcome.receive_max;
        Ok(true)
    }
}

impl Session {
    /// Returns the next packet identifier that no message under way has. There are more identifiers
    /// than messages under way ([`UNACKED_MAX`]).
    fn next_id(&mut self) -> u16 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(SUBSCRIBE + 1);
            if self.unacked.iter().all(|(id, _)| *id != self.last) {
                return self.last;
            }
        }
    }

    /// Puts the bytes that came behind those that were kept.
    fn joined<'b>(&mut self, bytes: Cow<'b, [u8]>) -> Said<'b> {
        let bytes = match self.partial.is_empty() {
            true => bytes,
            false => {
                let mut kept = std::mem::take(&mut self.partial);
                kept.extend_from_slice(&bytes);
                Cow::Owned(kept)
            }
        };
        Said { bytes, at: 0 }
    }

    /// Notes the acknowledgement of a packet. Returns the number of its message.
    fn acked(&mut self, id: u16) -> Option<u32> {
        let at = self.unacked.iter().position(|(it, _)| *it == id)?;
        self.unacked.remove(at).map(|(_, message)| message)
    }
}

impl Driver for Mqtt {
    type Opening = Opening;
    type Session = Session;
    type Said<'b> = Said<'b>;

    fn begin(&mut self, random: [u8; 16]) -> (Opening, Session) {
        let opening = Opening {
            upgrade: self.upgrade.as_ref().map(|_| Upgrade::new(random)),
            user: String::new(),
            welcomed: false,
        };
        let session = Session {
            framing: Framing::new(Role::Client),
            partial: Vec::new(),
            fresh: false,
            unacked: VecDeque::new(),
            waiting: VecDeque::new(),
            room: 0,
            last: SUBSCRIBE,
        };
        (opening, session)
    }

    fn receive<'b>(
        &mut self,
        _now: Nanos,
        line: Line<'_, Opening, Session>,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Event<Said<'b>>>, Broken> {
        let Line {
            mut opening,
            session,
            out,
        } = line;
        if let Some(opening) = opening.as_deref_mut()
            && let Some(upgrade) = opening.upgrade.as_mut().filter(|it| !it.is_done())
        {
            let offered = self.upgrade.as_ref();
            let offered = offered.and_then(|it| it.subprotocol.as_deref());
            let parse = |head: &[u8], key: &str| parse_response_for(head, key, offered);
            if upgrade.answer(input, parse)? {
                packet::connect(
                    self.version,
                    &opening.user,
                    self.keep_alive,
                    &mut self.scratch,
                );
                self.flush(out);
            }
        }
        if std::mem::take(&mut session.fresh) {
            return Ok(Some(Event::Said(session.joined(Cow::Borrowed(&[])))));
        }
        let bytes = match &self.upgrade {
            None if input.is_empty() => return Ok(None),
            None => Cow::Borrowed(&*std::mem::take(input)),
            Some(_) => {
                let framing = &mut session.framing;
                match websocket::receive(framing, &mut self.masks, input, out)? {
                    None => return Ok(None),
                    Some(Event::Said(payload)) => payload,
                    Some(other) => {
                        return Ok(Some(other.map(|_| session.joined(Cow::Borrowed(&[])))));
                    }
                }
            }
        };
        if let Some(opening) = opening.filter(|it| !it.welcomed) {
            opening.welcomed = self.welcomed(session, &bytes)?;
            // Without the whole answer, the rest of it comes with the next bytes.
            return match opening.welcomed {
                true => Ok(Some(Event::Ready)),
                false => Ok(Some(Event::Said(Said {
                    bytes: Cow::Borrowed(&[]),
                    at: 0,
                }))),
            };
        }
        Ok(Some(Event::Said(session.joined(bytes))))
    }

    fn close(&mut self, line: Line<'_, Opening, Session>) {
        packet::disconnect(&mut self.scratch);
        self.flush(line.out);
        if self.upgrade.is_some() {
            websocket::close(&mut self.masks, line.out);
        }
    }

    fn position(_session: Session) -> Option<CompactString> {
        None
    }
}

impl TextDriver for Mqtt {
    fn connect(&mut self, line: Line<'_, Opening, Session>, user: &str) {
        let Some(opening) = line.opening else {
            return;
        };
        user.clone_into(&mut opening.user);
        match (&self.upgrade, &opening.upgrade) {
            (Some(words), Some(upgrade)) => {
                let (host, path) = (&self.host, &self.path);
                words.write(host, path, &upgrade.key(), user, line.out);
            }
            _ => {
                packet::connect(self.version, user, self.keep_alive, &mut self.scratch);
                self.flush(line.out);
            }
        }
    }

    fn open(&mut self, line: Line<'_, Opening, Session>, user: &str) -> bool {
        self.topic_of(user);
        let (version, topic) = (self.version, &self.name);
        packet::subscribe(version, SUBSCRIBE, topic, self.qos, &mut self.scratch);
        self.flush(line.out);
        false
    }

    fn has_room(&self, session: &Session) -> bool {
        session.waiting.len() < WAITING_MAX && session.unacked.len() < UNACKED_MAX
    }

    fn send(&mut self, line: Line<'_, Opening, Session>, message: &Outgoing<'_>) {
        let session = line.session;
        self.topic_of(message.peer);
        let payload = message.text.as_bytes();
        if self.qos == 0 {
            packet::publish(self.version, None, &self.name, payload, &mut self.scratch);
            return self.flush(line.out);
        }
        let id = session.next_id();
        session.unacked.push_back((id, message.id));
        packet::publish(
            self.version,
            Some(id),
            &self.name,
            payload,
            &mut self.scratch,
        );
        if session.room == 0 {
            session.waiting.push_back(std::mem::take(&mut self.scratch));
        } else {
            session.room -= 1;
            self.flush(line.out);
        }
    }

    fn hear<'s>(
        &mut self,
        line: Line<'_, Opening, Session>,
        said: &'s mut Said<'_>,
    ) -> Result<Option<Heard<'s>>, String> {
        let Said { bytes, at } = said;
        loop {
            let rest = &bytes[*at..];
            let Some((packet, size)) = packet::parse(self.version, rest)? else {
                line.session.partial.extend_from_slice(rest);
                *at = bytes.len();
                return Ok(None);
            };
            *at += size;
            return Ok(Some(match packet {
                Packet::Publish { id, payload } => {
                    if let Some(id) = id {
                        packet::puback(id, &mut self.scratch);
                        self.flush(line.out);
                    }
                    Heard::Pushed(String::from_utf8_lossy(payload))
                }
                Packet::Puback { id, reason } => {
                    let session = line.session;
                    let Some(message) = session.acked(id) else {
                        let what = format!("PUBACK of packet {id}, which is not under way");
                        return Ok(Some(Heard::Strange(what)));
                    };
                    match session.waiting.pop_front() {
                        None => session.room = session.room.saturating_add(1),
                        Some(packet) => {
                            self.scratch = packet;
                            self.flush(line.out);
                        }
                    }
                    // From 0x80 on, a reason is a failure (§2.4).
                    match reason {
                        0x80.. => Heard::Refused {
                            id: message,
                            why: format!("PUBACK with reason 0x{reason:02x}"),
                        },
                        _ => Heard::Acked(message),
                    }
                }
                Packet::Suback(reason) if reason >= 0x80 => {
                    return Err(format!(
                        "the server refuses the subscription: reason 0x{reason:02x}"
                    ));
                }
                Packet::Suback(granted) if granted < self.qos => {
                    return Err(format!(
                        "the server grants quality of service {granted} only: write qos = {granted}"
                    ));
                }
                Packet::Suback(_) => Heard::Opened,
                Packet::Pingresp => continue,
                Packet::Disconnect(reason) => {
                    return Err(format!("the server disconnects: reason 0x{reason:02x}"));
                }
                Packet::Connack(_) => return Err("a second CONNACK".into()),
            }));
        }
    }

    fn ping_every(&self) -> Option<Nanos> {
        Some(Nanos::from(self.keep_alive) * SECOND * PING_AT.0 / PING_AT.1)
    }

    fn ping(&mut self, line: Line<'_, Opening, Session>, _user: &str) {
        packet::pingreq(&mut self.scratch);
        self.flush(line.out);
    }
}

#[cfg(test)]
mod tests;
