//! Latencies from a capture: the times of each message, its reply and its push on the wire.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;

use anyhow::{Context, bail};
use memchr::memmem;
use trunkline_benches::capture::Packet;
use trunkline_benches::open_loop::Timed;
use trunkline_proto::connection::{Connection, Event, Role};

/// The messages of one client by the capture. Times of sending are those of a message's last packet.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// The times from the last packet of a message to that of its answer.
    pub(crate) ack: Vec<Timed>,
    /// The times from the last packet of a message to that of its push.
    pub(crate) e2e: Vec<Timed>,
    /// The times of sending, in nanoseconds since 1970, oldest first.
    pub(crate) sent: Vec<u64>,
}

/// One direction of a connection.
struct Stream {
    next: Option<u32>,
    /// The bytes of the HTTP head; `None` after its end.
    head: Option<Vec<u8>>,
    framing: Connection,
}

impl Stream {
    fn new(role: Role) -> Self {
        Self {
            next: None,
            head: Some(Vec::new()),
            framing: Connection::new(role),
        }
    }

    /// Passes on the messages that a packet completes.
    fn take(
        &mut self,
        packet: &mut Packet,
        mut message: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let next = self.next.unwrap_or(packet.sequence);
        // A repeated packet is not read again.
        let known = next.wrapping_sub(packet.sequence) as usize;
        if known > packet.payload.len() {
            if known < 1 << 31 {
                return Ok(());
            }
            bail!("the capture lacks a packet of {}", packet.from);
        }
        self.next = Some(packet.sequence.wrapping_add(packet.payload.len() as u32));
        let mut rest = &mut packet.payload[known..];
        let mut after;
        if let Some(head) = &mut self.head {
            head.extend_from_slice(rest);
            let Some(end) = memmem::find(head, b"\r\n\r\n") else {
                return Ok(());
            };
            after = head.split_off(end + 4);
            self.head = None;
            rest = &mut after;
        }
        while let Some(event) = self.framing.receive(&mut rest, 64 << 20)? {
            if let Event::Message(_, payload) = event {
                message(&payload)?;
            }
        }
        Ok(())
    }
}

/// Returns the text of a message, which is unique.
fn text(payload: &[u8]) -> Option<&[u8]> {
    const KEY: &[u8] = br#""text":""#;
    let from = memmem::find(payload, KEY)? + KEY.len();
    let to = memchr::memchr(b'"', &payload[from..])? + from;
    Some(&payload[from..to])
}

fn is(payload: &[u8], kind: &str) -> bool {
    memmem::find(payload, kind.as_bytes()).is_some()
}

/// Follows all connections of a capture to a server. The result has the load generator first, then the client whose
/// users have names that begin with `name`.
///
/// # Errors
/// The capture has holes, or has an answer without a message.
pub(crate) fn follow(packets: Vec<Packet>, port: u16, name: &str) -> anyhow::Result<[Wire; 2]> {
    let mut streams: HashMap<(SocketAddrV4, bool), Stream> = HashMap::new();
    let mut waiting: HashMap<SocketAddrV4, VecDeque<u64>> = HashMap::new();
    let mut sent: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut sides: HashMap<SocketAddrV4, usize> = HashMap::new();
    let mut wires: [Wire; 2] = Default::default();
    let named = format!(r#""user":"{name}"#);
    for mut packet in packets {
        let at = packet.at;
        let up = packet.to.port() == port;
        let client = if up { packet.from } else { packet.to };
        let role = if up { Role::Server } else { Role::Client };
        let stream = streams.entry((client, up));
        let stream = stream.or_insert_with(|| Stream::new(role));
        let timed = |due: u64| Timed {
            due,
            latency: at - due,
        };
        stream.take(&mut packet, |payload| {
            if up && is(payload, r#""connect":{"#) {
                sides.insert(client, usize::from(is(payload, &named)));
            }
            let side = sides.get(&client).copied();
            let wire = &mut wires[side.context("a connection that did not say connect")?];
            if up && is(payload, r#""send":{"#) {
                let text = text(payload).context("a message without a text")?;
                sent.insert(text.to_owned(), at);
                waiting.entry(client).or_default().push_back(at);
                wire.sent.push(at);
            } else if !up && is(payload, r#""push":{"#) {
                let sent = text(payload).and_then(|text| sent.get(text));
                wire.e2e.extend(sent.map(|sent| timed(*sent)));
            } else if !up && is(payload, r#""send":{"#) {
                let first = waiting.entry(client).or_default().pop_front();
                wire.ack.push(timed(first.context("an answer to nothing")?));
            }
            Ok(())
        })?;
    }
    Ok(wires)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_proto::frame::{Opcode, write_frame};

    const SERVER: u16 = 80;

    /// A packet of a client, or to it.
    fn packet(client: u16, up: bool, at: u64, sequence: u32, payload: &[u8]) -> Packet {
        let address = |port| SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
        let (from, to) = if up {
            (client, SERVER)
        } else {
            (SERVER, client)
        };
        Packet {
            at,
            from: address(from),
            to: address(to),
            sequence,
            payload: payload.to_owned(),
        }
    }

    /// The end of the HTTP head, and a message behind it.
    fn bytes(up: bool, text: &str) -> Vec<u8> {
        let mut bytes = b"HTTP\r\n\r\n".to_vec();
        let mask = up.then_some([1, 2, 3, 4]);
        write_frame(&mut bytes, Opcode::Text, text.as_bytes(), mask);
        bytes
    }

    /// A message within a stream, behind its head.
    fn frame(up: bool, text: &str) -> Vec<u8> {
        bytes(up, text).split_off(b"HTTP\r\n\r\n".len())
    }

    /// The sequence of the first byte of each client.
    const FIRST: u32 = u32::MAX - 5;

    /// A message from a client to another one whose first packet comes twice, its answer and its push. The packets at
    /// 2 to 4 are the message.
    fn packets(from: (u16, &str), to: (u16, &str)) -> Vec<Packet> {
        let hello = |user: &str| {
            let hello = format!(r#"{{"id":1,"connect":{{"user":"{user}"}}}}"#);
            bytes(true, &hello)
        };
        let (hello, other_hello) = (hello(from.1), hello(to.1));
        let behind = FIRST.wrapping_add(hello.len() as u32);
        let sent = frame(true, r#"{"id":1,"send":{"user":"b","text":"first"}}"#);
        let (one, other) = sent.split_at(20);
        let answer = bytes(false, r#"{"id":1,"send":{"seq":1}}"#);
        let push = bytes(false, r#"{"push":{"message":{"text":"first"}}}"#);
        vec![
            packet(from.0, true, 50, FIRST, &hello),
            packet(to.0, true, 60, FIRST, &other_hello),
            packet(from.0, true, 100, behind, one),
            packet(from.0, true, 150, behind, one),
            packet(from.0, true, 200, behind.wrapping_add(20), other),
            packet(from.0, false, 500, 7, &answer),
            packet(to.0, false, 600, 9, &push),
        ]
    }

    fn timed(due: u64, latency: u64) -> Timed {
        Timed { due, latency }
    }

    #[test]
    fn latency_is_from_the_last_packet_to_the_last_packet() {
        let [wire, none] = follow(packets((1, "x1"), (2, "x2")), SERVER, "other").unwrap();
        assert_eq!(wire.sent, [200]);
        assert_eq!(wire.ack, [timed(200, 300)]);
        assert_eq!(wire.e2e, [timed(200, 400)]);
        assert!(none.sent.is_empty() && none.ack.is_empty() && none.e2e.is_empty());
    }

    #[test]
    fn each_client_has_its_own_messages() {
        let mut both = packets((1, "x1"), (2, "x2"));
        both.extend(packets((3, "other3"), (4, "other4")));
        let wires = follow(both, SERVER, "other").unwrap();
        let counts = wires.map(|wire| (wire.sent.len(), wire.ack.len(), wire.e2e.len()));
        assert_eq!(counts, [(1, 1, 1); 2]);
    }

    #[test]
    fn a_capture_with_a_hole_is_refused() {
        let mut packets = packets((1, "x1"), (2, "x2"));
        packets[4].sequence += 1;
        let why = follow(packets, SERVER, "other").unwrap_err().to_string();
        assert!(why.contains("lacks a packet"), "{why}");
    }
}
