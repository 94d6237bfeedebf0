//! Server messages as JSON objects.

use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message::{Event, Push, Reply, ReplyBody, ServerMessage};
use crate::text::Str;

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
                    ReplyBody::Receipts(body) => map.serialize_entry("receipts", body),
                    ReplyBody::Conversations(body) => map.serialize_entry("conversations", body),
                    ReplyBody::GroupCreate(body) => map.serialize_entry("group_create", body),
                    ReplyBody::GroupAdd(body) => map.serialize_entry("group_add", body),
                    ReplyBody::GroupRemove(body) => map.serialize_entry("group_remove", body),
                    ReplyBody::GroupLeave(body) => map.serialize_entry("group_leave", body),
                    ReplyBody::GroupRename(body) => map.serialize_entry("group_rename", body),
                    ReplyBody::GroupInfo(body) => map.serialize_entry("group_info", body),
                    ReplyBody::Recall(body) => map.serialize_entry("recall", body),
                    ReplyBody::Delete(body) => map.serialize_entry("delete", body),
                    ReplyBody::React(body) => map.serialize_entry("react", body),
                    ReplyBody::Reactions(body) => map.serialize_entry("reactions", body),
                    ReplyBody::Contacts(body) => map.serialize_entry("contacts", body),
                    ReplyBody::Presence(body) => map.serialize_entry("presence", body),
                    ReplyBody::Typing(body) => map.serialize_entry("typing", body),
                    ReplyBody::Signal(body) => map.serialize_entry("signal", body),
                    ReplyBody::Subscribe(body) => map.serialize_entry("subscribe", body),
                    ReplyBody::Unsubscribe(body) => map.serialize_entry("unsubscribe", body),
                    ReplyBody::Publish(body) => map.serialize_entry("publish", body),
                    ReplyBody::Edit(body) => map.serialize_entry("edit", body),
                    ReplyBody::Rpc(body) => map.serialize_entry("rpc", body),
                    ReplyBody::GroupRole(body) => map.serialize_entry("group_role", body),
                    ReplyBody::GroupSet(body) => map.serialize_entry("group_set", body),
                    ReplyBody::GroupJoin(body) => map.serialize_entry("group_join", body),
                    ReplyBody::Pin(body) => map.serialize_entry("pin", body),
                    ReplyBody::Unpin(body) => map.serialize_entry("unpin", body),
                    ReplyBody::Block(body) => map.serialize_entry("block", body),
                    ReplyBody::Unblock(body) => map.serialize_entry("unblock", body),
                    ReplyBody::Blocked(body) => map.serialize_entry("blocked", body),
                    ReplyBody::Settings(body) => map.serialize_entry("settings", body),
                    ReplyBody::Search(body) => map.serialize_entry("search", body),
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
            Event::Recall(event) => map.serialize_entry("recall", event),
            Event::Delete(event) => map.serialize_entry("delete", event),
            Event::Reaction(event) => map.serialize_entry("reaction", event),
            Event::Group(event) => map.serialize_entry("group", event),
            Event::Presence(event) => map.serialize_entry("presence", event),
            Event::Typing(event) => map.serialize_entry("typing", event),
            Event::Signal(event) => map.serialize_entry("signal", event),
            Event::Publication(event) => map.serialize_entry("publication", event),
            Event::CaughtUp(event) => map.serialize_entry("caught_up", event),
            Event::Gap(event) => map.serialize_entry("gap", event),
            Event::Edit(event) => map.serialize_entry("edit", event),
            Event::Disconnect(event) => map.serialize_entry("disconnect", event),
            Event::Settings(event) => map.serialize_entry("settings", event),
        }?;
        map.end()
    }
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
                        "receipts" => ReplyBody::Receipts(map.next_value()?),
                        "conversations" => ReplyBody::Conversations(map.next_value()?),
                        "group_create" => ReplyBody::GroupCreate(map.next_value()?),
                        "group_add" => ReplyBody::GroupAdd(map.next_value()?),
                        "group_remove" => ReplyBody::GroupRemove(map.next_value()?),
                        "group_leave" => ReplyBody::GroupLeave(map.next_value()?),
                        "group_rename" => ReplyBody::GroupRename(map.next_value()?),
                        "group_info" => ReplyBody::GroupInfo(map.next_value()?),
                        "recall" => ReplyBody::Recall(map.next_value()?),
                        "delete" => ReplyBody::Delete(map.next_value()?),
                        "react" => ReplyBody::React(map.next_value()?),
                        "reactions" => ReplyBody::Reactions(map.next_value()?),
                        "contacts" => ReplyBody::Contacts(map.next_value()?),
                        "presence" => ReplyBody::Presence(map.next_value()?),
                        "typing" => ReplyBody::Typing(map.next_value()?),
                        "signal" => ReplyBody::Signal(map.next_value()?),
                        "subscribe" => ReplyBody::Subscribe(map.next_value()?),
                        "unsubscribe" => ReplyBody::Unsubscribe(map.next_value()?),
                        "publish" => ReplyBody::Publish(map.next_value()?),
                        "edit" => ReplyBody::Edit(map.next_value()?),
                        "rpc" => ReplyBody::Rpc(map.next_value()?),
                        "group_role" => ReplyBody::GroupRole(map.next_value()?),
                        "group_set" => ReplyBody::GroupSet(map.next_value()?),
                        "group_join" => ReplyBody::GroupJoin(map.next_value()?),
                        "pin" => ReplyBody::Pin(map.next_value()?),
                        "unpin" => ReplyBody::Unpin(map.next_value()?),
                        "block" => ReplyBody::Block(map.next_value()?),
                        "unblock" => ReplyBody::Unblock(map.next_value()?),
                        "blocked" => ReplyBody::Blocked(map.next_value()?),
                        "settings" => ReplyBody::Settings(map.next_value()?),
                        "search" => ReplyBody::Search(map.next_value()?),
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
                        "recall" => event = Some(Event::Recall(map.next_value()?)),
                        "delete" => event = Some(Event::Delete(map.next_value()?)),
                        "reaction" => event = Some(Event::Reaction(map.next_value()?)),
                        "group" => event = Some(Event::Group(map.next_value()?)),
                        "presence" => event = Some(Event::Presence(map.next_value()?)),
                        "typing" => event = Some(Event::Typing(map.next_value()?)),
                        "signal" => event = Some(Event::Signal(map.next_value()?)),
                        "publication" => event = Some(Event::Publication(map.next_value()?)),
                        "caught_up" => event = Some(Event::CaughtUp(map.next_value()?)),
                        "gap" => event = Some(Event::Gap(map.next_value()?)),
                        "edit" => event = Some(Event::Edit(map.next_value()?)),
                        "disconnect" => event = Some(Event::Disconnect(map.next_value()?)),
                        "settings" => event = Some(Event::Settings(map.next_value()?)),
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
