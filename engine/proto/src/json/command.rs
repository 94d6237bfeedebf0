//! Commands as JSON objects.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserializer, Serialize, Serializer};

use super::{bad, explain};
use crate::error::{BadCommand, ErrorCode};
use crate::json_text::strict;
use crate::message::{Command, CommandBody};
use crate::object::Object;
use crate::text::Str;

/// Reads the command on a line.
pub(super) fn read(line: &[u8]) -> Result<Command<'_>, BadCommand> {
    if let Err(flaw) = strict::check(line) {
        return Err(bad(readable_id(line), flaw.to_string()));
    }
    let seen = Seen::default();
    let mut json = serde_json::Deserializer::from_slice(line);
    match CommandSeed(&seen).deserialize(&mut json) {
        Ok(Some(body)) => Ok(Command {
            id: seen.id.get(),
            body,
        }),
        Ok(None) => Err(match seen.unknown.take() {
            Some(name) => BadCommand {
                id: seen.id.get(),
                code: ErrorCode::UnknownCommand,
                message: format!("there is no command \"{name}\" in this protocol version"),
            },
            None => bad(seen.id.get(), "the object names no command".into()),
        }),
        Err(_) => Err(bad(readable_id(line), explain::explain(line))),
    }
}

/// Returns the id on a line that is not a valid command. Returns 0 if the line has no readable id,
/// or several.
fn readable_id(line: &[u8]) -> u32 {
    struct Ids<'s>(&'s Cell<(u32, bool)>);
    impl<'de> de::Visitor<'de> for Ids<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Str<'de>>()? {
                if *key != *"id" {
                    map.next_value::<IgnoredAny>()?;
                } else if self.0.get().1 {
                    self.0.set((0, true));
                    return Ok(());
                } else {
                    self.0.set((map.next_value()?, true));
                }
            }
            Ok(())
        }
    }
    let found = Cell::new((0, false));
    // It ends where the line cannot be read any further: what was found before counts.
    let _ = serde_json::Deserializer::from_slice(line).deserialize_map(Ids(&found));
    found.get().0
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
                "receipts" => CommandBody::Receipts(map.next_value::<Object<_>>()?.0),
                "conversations" => CommandBody::Conversations(map.next_value::<Object<_>>()?.0),
                "group_create" => CommandBody::GroupCreate(map.next_value::<Object<_>>()?.0),
                "group_add" => CommandBody::GroupAdd(map.next_value::<Object<_>>()?.0),
                "group_remove" => CommandBody::GroupRemove(map.next_value::<Object<_>>()?.0),
                "group_leave" => CommandBody::GroupLeave(map.next_value::<Object<_>>()?.0),
                "group_rename" => CommandBody::GroupRename(map.next_value::<Object<_>>()?.0),
                "group_info" => CommandBody::GroupInfo(map.next_value::<Object<_>>()?.0),
                "recall" => CommandBody::Recall(map.next_value::<Object<_>>()?.0),
                "delete" => CommandBody::Delete(map.next_value::<Object<_>>()?.0),
                "react" => CommandBody::React(map.next_value::<Object<_>>()?.0),
                "reactions" => CommandBody::Reactions(map.next_value::<Object<_>>()?.0),
                "contacts" => CommandBody::Contacts(map.next_value::<Object<_>>()?.0),
                "presence" => CommandBody::Presence(map.next_value::<Object<_>>()?.0),
                "typing" => CommandBody::Typing(map.next_value::<Object<_>>()?.0),
                "signal" => CommandBody::Signal(map.next_value::<Object<_>>()?.0),
                "subscribe" => CommandBody::Subscribe(map.next_value::<Object<_>>()?.0),
                "unsubscribe" => CommandBody::Unsubscribe(map.next_value::<Object<_>>()?.0),
                "publish" => CommandBody::Publish(map.next_value::<Object<_>>()?.0),
                "edit" => CommandBody::Edit(Box::new(map.next_value::<Object<_>>()?.0)),
                "rpc" => CommandBody::Rpc(map.next_value::<Object<_>>()?.0),
                "group_role" => CommandBody::GroupRole(map.next_value::<Object<_>>()?.0),
                "group_set" => CommandBody::GroupSet(map.next_value::<Object<_>>()?.0),
                "group_join" => CommandBody::GroupJoin(map.next_value::<Object<_>>()?.0),
                "pin" => CommandBody::Pin(map.next_value::<Object<_>>()?.0),
                "unpin" => CommandBody::Unpin(map.next_value::<Object<_>>()?.0),
                "block" => CommandBody::Block(map.next_value::<Object<_>>()?.0),
                "unblock" => CommandBody::Unblock(map.next_value::<Object<_>>()?.0),
                "blocked" => CommandBody::Blocked(map.next_value::<Object<_>>()?.0),
                "settings" => CommandBody::Settings(map.next_value::<Object<_>>()?.0),
                "search" => CommandBody::Search(map.next_value::<Object<_>>()?.0),
                "ping" => CommandBody::Ping(map.next_value::<Object<_>>()?.0),
                other => {
                    let shown = other.chars().take(64);
                    let shown = shown.map(|char| if char.is_control() { '?' } else { char });
                    self.0.unknown.set(Some(shown.collect()));
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
            CommandBody::Receipts(body) => map.serialize_entry("receipts", body),
            CommandBody::Conversations(body) => map.serialize_entry("conversations", body),
            CommandBody::GroupCreate(body) => map.serialize_entry("group_create", body),
            CommandBody::GroupAdd(body) => map.serialize_entry("group_add", body),
            CommandBody::GroupRemove(body) => map.serialize_entry("group_remove", body),
            CommandBody::GroupLeave(body) => map.serialize_entry("group_leave", body),
            CommandBody::GroupRename(body) => map.serialize_entry("group_rename", body),
            CommandBody::GroupInfo(body) => map.serialize_entry("group_info", body),
            CommandBody::Recall(body) => map.serialize_entry("recall", body),
            CommandBody::Delete(body) => map.serialize_entry("delete", body),
            CommandBody::React(body) => map.serialize_entry("react", body),
            CommandBody::Reactions(body) => map.serialize_entry("reactions", body),
            CommandBody::Contacts(body) => map.serialize_entry("contacts", body),
            CommandBody::Presence(body) => map.serialize_entry("presence", body),
            CommandBody::Typing(body) => map.serialize_entry("typing", body),
            CommandBody::Signal(body) => map.serialize_entry("signal", body),
            CommandBody::Subscribe(body) => map.serialize_entry("subscribe", body),
            CommandBody::Unsubscribe(body) => map.serialize_entry("unsubscribe", body),
            CommandBody::Publish(body) => map.serialize_entry("publish", body),
            CommandBody::Edit(body) => map.serialize_entry("edit", body),
            CommandBody::Rpc(body) => map.serialize_entry("rpc", body),
            CommandBody::GroupRole(body) => map.serialize_entry("group_role", body),
            CommandBody::GroupSet(body) => map.serialize_entry("group_set", body),
            CommandBody::GroupJoin(body) => map.serialize_entry("group_join", body),
            CommandBody::Pin(body) => map.serialize_entry("pin", body),
            CommandBody::Unpin(body) => map.serialize_entry("unpin", body),
            CommandBody::Block(body) => map.serialize_entry("block", body),
            CommandBody::Unblock(body) => map.serialize_entry("unblock", body),
            CommandBody::Blocked(body) => map.serialize_entry("blocked", body),
            CommandBody::Settings(body) => map.serialize_entry("settings", body),
            CommandBody::Search(body) => map.serialize_entry("search", body),
            CommandBody::Ping(body) => map.serialize_entry("ping", body),
        }?;
        map.end()
    }
}
