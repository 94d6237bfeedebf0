//! Reads the frequent command, a send of text, without the generated types.
//!
//! The generated types own their strings; this reader copies nothing. The general reader handles
//! all other fields and all mistakes, so this reader affects only the speed.

use prost::encoding::{decode_varint, wire_type::WireType};

use crate::message::{Command, CommandBody, Send};
use crate::text::Str;

/// Reads a command that is a send of text; `None` for anything else.
///
/// A command has some 250 bytes, so it is made once, at the end.
pub(super) fn read(mut bytes: &[u8]) -> Option<Command<'_>> {
    const ID: u8 = key(1, WireType::Varint);
    const SEND: u8 = key(3, WireType::LengthDelimited);
    let (mut id, mut send) = (0, None);
    while let Some((&key, rest)) = bytes.split_first() {
        bytes = rest;
        match key {
            ID => id = u32::try_from(decode_varint(&mut bytes).ok()?).ok()?,
            // A second one would have to be merged with the first.
            SEND if send.is_none() => send = Some(delimited(&mut bytes)?),
            _ => return None,
        }
    }
    let [user, group, key, text] = read_send(send?)?;
    Some(Command {
        id,
        body: CommandBody::Send(Send {
            user: user.map(Str::from),
            group: group.map(Str::from),
            key: key.map(Str::from),
            text: text.map(Str::from),
            ..Send::default()
        }),
    })
}

/// Reads the user, the group, the key and the text of a send; `None` if it has anything else.
fn read_send(mut bytes: &[u8]) -> Option<[Option<&str>; 4]> {
    const USER: u8 = key(1, WireType::LengthDelimited);
    const GROUP: u8 = key(2, WireType::LengthDelimited);
    const KEY: u8 = key(3, WireType::LengthDelimited);
    const TEXT: u8 = key(4, WireType::LengthDelimited);
    let mut fields = [None; 4];
    while let Some((&key, rest)) = bytes.split_first() {
        bytes = rest;
        let field = match key {
            USER => &mut fields[0],
            GROUP => &mut fields[1],
            KEY => &mut fields[2],
            TEXT => &mut fields[3],
            _ => return None,
        };
        *field = Some(simdutf8::basic::from_utf8(delimited(&mut bytes)?).ok()?);
    }
    Some(fields)
}

/// Returns the bytes after a length, and moves `bytes` past them.
fn delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (value, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(value)
}

/// Returns the key of a field with a number below 16, in one byte.
const fn key(number: u8, wire_type: WireType) -> u8 {
    number << 3 | wire_type as u8
}
