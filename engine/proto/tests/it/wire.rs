//! Frames built byte by byte, and what a connection hears of them.
//!
//! The frames are built here and not with `trunkline_proto::frame`, so that reader and writer are
//! not tested against each other's mistakes.

use trunkline_proto::connection::{Connection, Event, MessageKind, Role};
use trunkline_proto::frame::FrameError;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = FIN | 8;
pub(crate) const PING: u8 = FIN | 9;
pub(crate) const PONG: u8 = FIN | 10;

pub(crate) const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// The form in which a frame states its length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Length {
    Shortest,
    Medium,
    Long,
}

/// The key with which a peer of this role's connection masks: client frames are masked.
pub(crate) fn key(role: Role) -> Option<[u8; 4]> {
    (role == Role::Server).then_some([0x1f, 0x00, 0xa5, 0x80])
}

/// A frame with any first byte, masked or not.
pub(crate) fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    frame_with(first, payload, key, Length::Shortest)
}

pub(crate) fn frame_with(first: u8, payload: &[u8], key: Option<[u8; 4]>, form: Length) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64, key, form);
    let masked = payload.iter().enumerate();
    bytes.extend(masked.map(|(i, b)| key.map_or(*b, |key| b ^ key[i % 4])));
    bytes
}

pub(crate) fn header(first: u8, len: u64, key: Option<[u8; 4]>, form: Length) -> Vec<u8> {
    let form = match (form, len) {
        (Length::Shortest, 0..=125) => None,
        (Length::Shortest, 126..=65_535) => Some(Length::Medium),
        (Length::Shortest, _) => Some(Length::Long),
        (form, _) => Some(form),
    };
    let bit = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match form {
        None => bytes.push(bit | u8::try_from(len).unwrap()),
        Some(Length::Medium) => {
            bytes.push(bit | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        Some(_) => {
            bytes.push(bit | 127);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend(key.unwrap_or_default().iter().take(key.map_or(0, |_| 4)));
    bytes
}

/// An event that borrows nothing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Failed(FrameError),
}

pub(crate) fn text(text: &str) -> Heard {
    Heard::Message(MessageKind::Text, text.into())
}

/// Everything that a connection hears in one piece of input.
pub(crate) fn hear(connection: &mut Connection, piece: &[u8], max: usize) -> Vec<Heard> {
    let mut heard = Vec::new();
    let mut bytes = piece.to_vec();
    let mut input = &mut bytes[..];
    loop {
        heard.push(match connection.receive(&mut input, max) {
            Ok(Some(Event::Message(kind, payload))) => Heard::Message(kind, payload.into()),
            Ok(Some(Event::Ping(payload))) => Heard::Ping(payload.into()),
            Ok(Some(Event::Pong(payload))) => Heard::Pong(payload.into()),
            Ok(Some(Event::Close(code, reason))) => Heard::Close(code.map(|c| c.0), reason),
            Err(error) => Heard::Failed(error),
            Ok(None) => break,
        });
    }
    assert!(input.is_empty(), "`None` means that the input is used up");
    assert_eq!(connection.is_idle(), connection.buffered() == 0);
    heard
}

/// Everything that a fresh connection hears of a stream delivered in these pieces. Whatever the
/// pieces, a stream must be heard alike.
pub(crate) fn hear_all<'a>(
    role: Role,
    max: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Heard> {
    let mut connection = Connection::new(role);
    let pieces = pieces.into_iter();
    pieces
        .flat_map(|piece| hear(&mut connection, piece, max))
        .collect()
}

/// Delivers `stream` whole, byte by byte and with every single cut, and compares what is heard.
pub(crate) fn check(role: Role, max: usize, stream: &[u8], expected: &[Heard], about: &str) {
    let whole = hear_all(role, max, [stream]);
    assert!(whole == expected, "{about}, {role:?}, whole: {whole:?}");
    let bytewise = hear_all(role, max, stream.chunks(1));
    assert!(
        bytewise == expected,
        "{about}, {role:?}, bytes: {bytewise:?}"
    );
    for cut in 1..stream.len() {
        let halves = hear_all(role, max, [&stream[..cut], &stream[cut..]]);
        assert!(
            halves == expected,
            "{about}, {role:?}, cut at {cut}: {halves:?}"
        );
    }
}
