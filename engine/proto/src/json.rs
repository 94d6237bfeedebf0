//! The JSON form: one object per message, the command or event named by its key.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::{BadCommand, DecodeError};
use crate::error::ErrorCode;
use crate::message::{Command, CommandBody, Event, Push, Reply, ReplyBody, ServerMessage};
use crate::object::Object;
use crate::text::Str;

mod direct;
mod text;
mod usual;

/// Reads the commands of a text frame, one per line; empty lines are passed over.
pub(crate) fn decode_commands<'a>(
    payload: &'a [u8],
    each: &mut dyn FnMut(Result<Command<'a>, BadCommand>),
) {
    let (mut rest, mut any) = (payload, false);
    while !rest.is_empty() {
        if let Some((command, behind)) = usual::read(rest) {
            each(Ok(command));
            (rest, any) = (behind, true);
            continue;
        }
        let end = rest.iter().position(|&b| b == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 1..]);
        if !line.iter().all(u8::is_ascii_whitespace) {
            each(decode_command(line));
            any = true;
        }
    }
    if !any {
        each(Err(bad(0, "the frame holds no command".into())));
    }
}

fn bad(id: u32, mut message: String) -> BadCommand {
    // serde's messages quote a string of the wrong type, however long it is.
    const MAX_MESSAGE: usize = 200;
    message.truncate(message.floor_char_boundary(MAX_MESSAGE));
    BadCommand {
        id,
        code: ErrorCode::BadRequest,
        message,
    }
}

fn decode_command(line: &[u8]) -> Result<Command<'_>, BadCommand> {
    let seen = Seen::default();
    let mut json = serde_json::Deserializer::from_slice(line);
    let parsed = CommandSeed(&seen).deserialize(&mut json).and_then(|body| {
        json.end()?;
        Ok(body)
    });
    let id = seen.id.get();
    match parsed {
        Ok(Some(body)) => Ok(Command { id, body }),
        Ok(None) => Err(match seen.unknown.take() {
            Some(name) => BadCommand {
                id,
                code: ErrorCode::UnknownCommand,
                message: format!("there is no command {name:?} in this protocol version"),
            },
            None => bad(id, "the object names no command".into()),
        }),
        // The id may stand behind what could not be read.
        Err(error) if id == 0 => bad_with_late_id(line, &error),
        Err(error) => Err(bad(id, error.to_string())),
    }
}

fn bad_with_late_id<'a>(line: &[u8], error: &serde_json::Error) -> Result<Command<'a>, BadCommand> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: u32,
    }
    let id = serde_json::from_slice::<Object<OnlyId>>(line).map_or(0, |only| only.0.id);
    Err(bad(id, error.to_string()))
}

#[derive(Default)]
struct Seen {
    id: Cell<u32>,
    unknown: Cell<Option<String>>,
}

struct CommandSeed<'s>(&'s Seen);

impl<'de> DeserializeSeed<'de> for CommandSeed<'_> {
    type Value = Option<CommandBody<'de>>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> de::Visitor<'de> for CommandSeed<'_> {
    type Value = Option<CommandBody<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an id and a command")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Str<'de>>()? {
            let body = match &*key {
                "id" => {
                    self.0.id.set(map.next_value()?);
                    continue;
                }
                "send" => CommandBody::Send(map.next_value::<Object<_>>()?.0),
                "ack" => CommandBody::Ack(map.next_value::<Object<_>>()?.0),
                "connect" => CommandBody::Connect(map.next_value::<Object<_>>()?.0),
                "sync" => CommandBody::Sync(map.next_value::<Object<_>>()?.0),
                "history" => CommandBody::History(map.next_value::<Object<_>>()?.0),
                "get" => CommandBody::Get(map.next_value::<Object<_>>()?.0),
                "ping" => CommandBody::Ping(map.next_value::<Object<_>>()?.0),
                other => {
                    self.0.unknown.set(Some(other.chars().take(64).collect()));
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if found.replace(body).is_some() {
                return Err(de::Error::custom("the object names two commands"));
            }
        }
        Ok(found)
    }
}

/// Appends a command as one object.
pub(crate) fn encode_command(command: &Command<'_>, out: &mut Vec<u8>) {
    write(command, out);
}

/// Appends a server message as one object.
pub(crate) fn encode_server(message: &ServerMessage<'_>, out: &mut Vec<u8>) {
    if !direct::encode(message, out) {
        write(message, out);
    }
}

fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    // Writing to memory does not fail, and none of our types has a fallible form.
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}

impl Serialize for Command<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if self.id != 0 {
            map.serialize_entry("id", &self.id)?;
        }
        match &self.body {
            CommandBody::Connect(body) => map.serialize_entry("connect", body),
            CommandBody::Send(body) => map.serialize_entry("send", body),
            CommandBody::Ack(body) => map.serialize_entry("ack", body),
            CommandBody::Sync(body) => map.serialize_entry("sync", body),
            CommandBody::History(body) => map.serialize_entry("history", body),
            CommandBody::Get(body) => map.serialize_entry("get", body),
            CommandBody::Ping(body) => map.serialize_entry("ping", body),
        }?;
        map.end()
    }
}

impl Serialize for ServerMessage<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        match self {
            Self::Push(push) => map.serialize_entry("push", push)?,
            Self::Reply(Reply { id, body }) => {
                if *id != 0 {
                    map.serialize_entry("id", id)?;
                }
                match body {
                    ReplyBody::Error(body) => map.serialize_entry("error", body),
                    ReplyBody::Connect(body) => map.serialize_entry("connect", body),
                    ReplyBody::Send(body) => map.serialize_entry("send", body),
                    ReplyBody::Ack(body) => map.serialize_entry("ack", body),
                    ReplyBody::Sync(body) => map.serialize_entry("sync", body),
                    ReplyBody::History(body) => map.serialize_entry("history", body),
                    ReplyBody::Get(body) => map.serialize_entry("get", body),
                    ReplyBody::Ping(body) => map.serialize_entry("ping", body),
                }?;
            }
        }
        map.end()
    }
}

impl Serialize for Push<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if let Some(pos) = &self.pos {
            map.serialize_entry("pos", pos)?;
        }
        match &self.event {
            Event::Message(event) => map.serialize_entry("message", event),
            Event::Receipt(event) => map.serialize_entry("receipt", event),
            Event::Gap(event) => map.serialize_entry("gap", event),
            Event::Disconnect(event) => map.serialize_entry("disconnect", event),
        }?;
        map.end()
    }
}

/// Reads the server messages of a text frame, one per line.
pub(crate) fn decode_server<'a>(
    payload: &'a [u8],
    each: &mut dyn FnMut(ServerMessage<'a>),
) -> Result<(), DecodeError> {
    for line in payload.split(|&b| b == b'\n') {
        if !line.is_empty() {
            each(serde_json::from_slice(line).map_err(|e| DecodeError(e.to_string()))?);
        }
    }
    Ok(())
}

impl<'de: 'a, 'a> Deserialize<'de> for ServerMessage<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ServerMessage<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reply or a push")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut id, mut found) = (0, None);
                while let Some(key) = map.next_key::<Str<'de>>()? {
                    let body = match &*key {
                        "push" => {
                            found = Some(ServerMessage::Push(map.next_value()?));
                            continue;
                        }
                        "id" => {
                            id = map.next_value()?;
                            continue;
                        }
                        "error" => ReplyBody::Error(map.next_value()?),
                        "connect" => ReplyBody::Connect(map.next_value()?),
                        "send" => ReplyBody::Send(map.next_value()?),
                        "ack" => ReplyBody::Ack(map.next_value()?),
                        "sync" => ReplyBody::Sync(map.next_value()?),
                        "history" => ReplyBody::History(map.next_value()?),
                        "get" => ReplyBody::Get(map.next_value()?),
                        "ping" => ReplyBody::Ping(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    found = Some(ServerMessage::Reply(Reply { id: 0, body }));
                }
                match found {
                    Some(ServerMessage::Reply(reply)) => {
                        Ok(ServerMessage::Reply(Reply { id, ..reply }))
                    }
                    Some(push) => Ok(push),
                    None => Err(de::Error::custom("neither a known reply nor a push")),
                }
            }
        }
        from.deserialize_map(Visitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Push<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Push<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a position and an event")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut pos, mut event) = (None, None);
                while let Some(key) = map.next_key::<Str<'de>>()? {
                    match &*key {
                        "pos" => pos = map.next_value()?,
                        "message" => event = Some(Event::Message(map.next_value()?)),
                        "receipt" => event = Some(Event::Receipt(map.next_value()?)),
                        "gap" => event = Some(Event::Gap(map.next_value()?)),
                        "disconnect" => event = Some(Event::Disconnect(map.next_value()?)),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let event = event.ok_or_else(|| de::Error::custom("no known event"))?;
                Ok(Push { pos, event })
            }
        }
        from.deserialize_map(Visitor)
    }
}
