//! The packets of MQTT 5 and 3.1.1 that a client of plain messages needs.
//!
//! Numbers and names are those of the specification of version 5 (OASIS), by section. Version 3.1.1 has
//! the same packets without properties.

use crate::scenario::protocol::MqttVersion;

/// The longest packet that is accepted from a server, in bytes.
const PACKET_MAX: usize = 16 << 20;

/// The answer of a server that takes a connection (§3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Welcome {
    /// Why the server refuses; 0 if it does not.
    pub(super) reason: u8,
    /// The messages that may be under way to the server without their acknowledgement.
    pub(super) receive_max: u16,
    /// The highest quality of service.
    pub(super) qos_max: u8,
    /// The keep-alive that the server asks for in place of the client's, in seconds.
    pub(super) keep_alive: Option<u16>,
}

/// A packet of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'b> {
    Connack(Welcome),
    /// The reason for the first filter.
    Suback(u8),
    Publish {
        /// The identifier to acknowledge with; `None` with quality of service 0.
        id: Option<u16>,
        payload: &'b [u8],
    },
    Puback {
        id: u16,
        reason: u8,
    },
    Pingresp,
    Disconnect(u8),
}

/// Returns the next packet, and its length in bytes; `None` if it is incomplete.
///
/// # Errors
/// The bytes are no packet that a server sends to such a client.
pub(super) fn parse(
    version: MqttVersion,
    bytes: &[u8],
) -> Result<Option<(Packet<'_>, usize)>, String> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some((length, size)) = varint(rest)? else {
        return Ok(None);
    };
    if length > PACKET_MAX {
        return Err(format!("a packet of {length} bytes: {PACKET_MAX} at most"));
    }
    let (start, end) = (1 + size, 1 + size + length);
    if bytes.len() < end {
        return Ok(None);
    }
    let body = Body {
        rest: &bytes[start..end],
        version,
    };
    let packet = body.packet(first);
    let packet = packet.ok_or_else(|| format!("a malformed packet of type {}", first >> 4))?;
    Ok(Some((packet, end)))
}

/// Returns a variable byte integer (§1.5.5) and its length; `None` if it is incomplete.
fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    match bytes.len() < 4 {
        true => Ok(None),
        false => Err("a length without an end".into()),
    }
}

/// What is left of a packet's body.
struct Body<'b> {
    rest: &'b [u8],
    version: MqttVersion,
}

impl<'b> Body<'b> {
    fn packet(mut self, first: u8) -> Option<Packet<'b>> {
        Some(match first >> 4 {
            2 => {
                self.byte()?;
                let reason = self.byte()?;
                Packet::Connack(self.welcome(reason)?)
            }
            3 => {
                let topic = usize::from(self.short()?);
                self.take(topic)?;
                let id = match first >> 1 & 3 {
                    0 => None,
                    1 => Some(self.short()?),
                    _ => return None,
                };
                self.skip_properties()?;
                Packet::Publish {
                    id,
                    payload: self.rest,
                }
            }
            4 => {
                let id = self.short()?;
                // A packet without a reason means success (§3.4.2.1).
                let reason = self.byte().unwrap_or(0);
                Packet::Puback { id, reason }
            }
            9 => {
                self.short()?;
                self.skip_properties()?;
                Packet::Suback(self.byte()?)
            }
            13 => Packet::Pingresp,
            14 => Packet::Disconnect(self.byte().unwrap_or(0)),
            _ => return None,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|it| it[0])
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|it| u16::from_be_bytes([it[0], it[1]]))
    }

    fn properties(&mut self) -> Option<Body<'b>> {
        let version = self.version;
        if version == MqttVersion::Three {
            return Some(Body { rest: &[], version });
        }
        let (length, size) = varint(self.rest).ok()??;
        self.take(size)?;
        let rest = self.take(length)?;
        Some(Body { rest, version })
    }

    fn skip_properties(&mut self) -> Option<()> {
        self.properties().map(drop)
    }

    /// Reads the properties of a CONNACK (§3.2.2.3).
    fn welcome(mut self, reason: u8) -> Option<Welcome> {
        let mut welcome = Welcome {
            reason,
            receive_max: u16::MAX,
            qos_max: 2,
            keep_alive: None,
        };
        let mut properties = self.properties()?;
        while let Some(name) = properties.byte() {
            match name {
                0x21 => welcome.receive_max = properties.short()?,
                0x24 => welcome.qos_max = properties.byte()?,
                0x13 => welcome.keep_alive = Some(properties.short()?),
                0x25 | 0x28 | 0x29 | 0x2a => drop(properties.byte()?),
                0x22 => drop(properties.short()?),
                0x11 | 0x27 => drop(properties.take(4)?),
                0x12 | 0x1a | 0x1c | 0x1f | 0x15 | 0x16 => properties.skip_text()?,
                0x26 => {
                    properties.skip_text()?;
                    properties.skip_text()?;
                }
                _ => return None,
            }
        }
        Some(welcome)
    }

    fn skip_text(&mut self) -> Option<()> {
        let length = self.short()?;
        self.take(usize::from(length)).map(drop)
    }
}

/// Appends a packet whose body `write` appends to an empty buffer.
fn put(first: u8, out: &mut Vec<u8>, body: &[&[u8]]) {
    out.push(first);
    let mut left: usize = body.iter().map(|part| part.len()).sum();
    loop {
        let byte = (left & 0x7f) as u8;
        left >>= 7;
        out.push(if left > 0 { byte | 0x80 } else { byte });
        if left == 0 {
            break;
        }
    }
    for part in body {
        out.extend_from_slice(part);
    }
}

/// Returns the empty properties of a packet.
const fn no_properties(version: MqttVersion) -> &'static [u8] {
    match version {
        MqttVersion::Five => &[0],
        MqttVersion::Three => &[],
    }
}

/// Returns the length of a text that is sent, which is at most 65,535 bytes.
fn length(text: &[u8]) -> [u8; 2] {
    u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// Appends CONNECT (§3.1): a session that begins anew, and ends with the connection.
pub(super) fn connect(version: MqttVersion, client: &str, keep_alive: u16, out: &mut Vec<u8>) {
    let client = client.as_bytes();
    let level = match version {
        MqttVersion::Five => b"\0\x04MQTT\x05\x02",
        MqttVersion::Three => b"\0\x04MQTT\x04\x02",
    };
    put(
        0x10,
        out,
        &[
            level,
            &keep_alive.to_be_bytes(),
            no_properties(version),
            &length(client),
            client,
        ],
    );
}

/// Appends SUBSCRIBE (§3.8) for one topic.
pub(super) fn subscribe(version: MqttVersion, id: u16, topic: &[u8], qos: u8, out: &mut Vec<u8>) {
    put(
        0x82,
        out,
        &[
            &id.to_be_bytes(),
            no_properties(version),
            &length(topic),
            topic,
            &[qos],
        ],
    );
}

/// Appends PUBLISH (§3.3), with an identifier for quality of service 1, or without for 0.
pub(super) fn publish(
    version: MqttVersion,
    id: Option<u16>,
    topic: &[u8],
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let id = id.map(u16::to_be_bytes);
    let first = if id.is_some() { 0x32 } else { 0x30 };
    let id: &[u8] = id.as_ref().map_or(&[], |id| id);
    let none = no_properties(version);
    put(first, out, &[&length(topic), topic, id, none, payload]);
}

/// Appends PUBACK (§3.4): the message has come.
pub(super) fn puback(id: u16, out: &mut Vec<u8>) {
    put(0x40, out, &[&id.to_be_bytes()]);
}

/// Appends PINGREQ (§3.12).
pub(super) fn pingreq(out: &mut Vec<u8>) {
    put(0xc0, out, &[]);
}

/// Appends DISCONNECT (§3.14) without a reason: all is well.
pub(super) fn disconnect(out: &mut Vec<u8>) {
    put(0xe0, out, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    use MqttVersion::{Five, Three};

    fn whole(bytes: &[u8]) -> Packet<'_> {
        whole_of(Five, bytes)
    }

    fn whole_of(version: MqttVersion, bytes: &[u8]) -> Packet<'_> {
        for cut in 0..bytes.len() {
            assert_eq!(parse(version, &bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let (packet, size) = parse(version, bytes).unwrap().unwrap();
        assert_eq!(size, bytes.len());
        packet
    }

    #[test]
    fn packets_of_a_server_are_read() {
        let welcome = b"\x20\x0e\0\0\x0b\x21\0\x14\x24\x01\x13\0\x3c\x12\0\0";
        assert_eq!(
            whole(welcome),
            Packet::Connack(Welcome {
                reason: 0,
                receive_max: 20,
                qos_max: 1,
                keep_alive: Some(60),
            })
        );
        assert_eq!(whole(b"\x90\x04\0\x01\0\x01"), Packet::Suback(1));
        assert_eq!(
            whole(b"\x40\x02\0\x07"),
            Packet::Puback { id: 7, reason: 0 }
        );
        assert_eq!(
            whole(b"\x40\x03\0\x07\x97"),
            Packet::Puback {
                id: 7,
                reason: 0x97
            }
        );
        assert_eq!(whole(b"\xd0\0"), Packet::Pingresp);
        assert_eq!(whole(b"\xe0\x02\x8e\0"), Packet::Disconnect(0x8e));
    }

    #[test]
    fn a_published_message_is_read_back() {
        let payload = vec![b'x'; 300];
        for (version, id) in [
            (Five, None),
            (Five, Some(9)),
            (Three, None),
            (Three, Some(9)),
        ] {
            let mut bytes = Vec::new();
            publish(version, id, b"u/ann", &payload, &mut bytes);
            let expected = Packet::Publish {
                id,
                payload: &payload,
            };
            assert_eq!(whole_of(version, &bytes), expected);
        }
        assert_eq!(whole_of(Three, b"\x90\x03\0\x01\x01"), Packet::Suback(1));
        let Packet::Connack(welcome) = whole_of(Three, b"\x20\x02\0\0") else {
            panic!("no CONNACK");
        };
        assert_eq!((welcome.reason, welcome.receive_max), (0, u16::MAX));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bytes in [
            &b"\x20\x01\0"[..],
            b"\x30\x01\0",
            b"\x34\x05\0\0\0\x01\0",
            b"\x10\0",
            b"\x40\x01\0",
            b"\x20\xff\xff\xff\xff",
            b"\x30\xff\xff\xff\x7f",
            b"\x20\x04\0\0\x01\x7f",
        ] {
            assert!(parse(Five, bytes).is_err(), "{bytes:x?}");
        }
    }
}
