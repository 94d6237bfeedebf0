//! Latencies from a capture: the times of each message, its reply and its push on the wire.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddrV4;

use anyhow::{Context, bail};
use memchr::memmem;
use trunkline_benches::capture::Packet;
use trunkline_proto::connection::{Connection, Event, Role};

/// Latencies by the capture, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// The times from the last packet of a message to that of its answer.
    pub(crate) ack: Vec<f64>,
    /// The times from the last packet of a message to that of its push.
    pub(crate) e2e: Vec<f64>,
    /// The number of messages sent.
    pub(crate) sent: usize,
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

/// Follows all connections of a capture to a server.
///
/// # Errors
/// The capture has holes, or has an answer without a message.
pub(crate) fn follow(packets: Vec<Packet>, port: u16) -> anyhow::Result<Wire> {
    let mut streams: HashMap<(SocketAddrV4, bool), Stream> = HashMap::new();
    let mut waiting: HashMap<SocketAddrV4, VecDeque<u64>> = HashMap::new();
    let mut sent: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut wire = Wire::default();
    for mut packet in packets {
        let at = packet.at;
        let up = packet.to.port() == port;
        let client = if up { packet.from } else { packet.to };
        let role = if up { Role::Server } else { Role::Client };
        let stream = streams.entry((client, up));
        let stream = stream.or_insert_with(|| Stream::new(role));
        stream.take(&mut packet, |payload| {
            if up && is(payload, r#""send":{"#) {
                let text = text(payload).context("a message without a text")?;
                sent.insert(text.to_owned(), at);
                waiting.entry(client).or_default().push_back(at);
                wire.sent += 1;
            } else if !up && is(payload, r#""push":{"#) {
                let sent = text(payload).and_then(|text| sent.get(text));
                wire.e2e.extend(sent.map(|sent| (at - sent) as f64));
            } else if !up && is(payload, r#""send":{"#) {
                let first = waiting.entry(client).or_default().pop_front();
                wire.ack
                    .push((at - first.context("an answer to nothing")?) as f64);
            }
            Ok(())
        })?;
    }
    Ok(wire)
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

    /// One message from client 1 to client 2, whose first packet comes twice.
    fn packets() -> Vec<Packet> {
        let sent = bytes(true, r#"{"id":1,"send":{"user":"b","text":"first"}}"#);
        let (one, other) = sent.split_at(20);
        let first = u32::MAX - 5;
        vec![
            packet(1, true, 100, first, one),
            packet(1, true, 150, first, one),
            packet(1, true, 200, first.wrapping_add(20), other),
            packet(
                1,
                false,
                500,
                7,
                &bytes(false, r#"{"id":1,"send":{"seq":1}}"#),
            ),
            packet(
                2,
                false,
                600,
                9,
                &bytes(false, r#"{"push":{"message":{"text":"first"}}}"#),
            ),
        ]
    }

    #[test]
    fn latency_is_from_the_last_packet_to_the_last_packet() {
        let wire = follow(packets(), SERVER).unwrap();
        assert_eq!(wire.sent, 1);
        assert_eq!(wire.ack, [300.0]);
        assert_eq!(wire.e2e, [400.0]);
    }

    #[test]
    fn a_capture_with_a_hole_is_refused() {
        let mut packets = packets();
        packets[2].sequence += 1;
        let why = follow(packets, SERVER).unwrap_err().to_string();
        assert!(why.contains("lacks a packet"), "{why}");
    }
}
