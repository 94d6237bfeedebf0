//! Writes the frequent server messages without serde.
//!
//! The output is byte for byte that of the `Serialize` implementations; property tests compare
//! both. The server writes a message push for every message and every encoding of its receivers, so
//! these pushes take most of its encoding time. Pages of messages and events are long, and nobody
//! else is served while a reader writes one.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::json_text::string::{write_content, write_string};
use crate::message::{
    AckReply, Event, HistoryReply, Media, Message, MessageExtras, MessageReaction, Push, Receipt,
    Reply, ReplyBody, SendReply, ServerMessage, SyncReply,
};

/// Appends `message` if it is a frequent one. Returns whether it is.
pub(super) fn encode(message: &ServerMessage<'_>, out: &mut Vec<u8>) -> bool {
    match message {
        ServerMessage::Push(push) => {
            let start = out.len();
            out.extend_from_slice(br#"{"push":"#);
            if !push_object(out, push) {
                out.truncate(start);
                return false;
            }
            out.push(b'}');
        }
        ServerMessage::Reply(Reply { id, body }) => match body {
            ReplyBody::Send(body) => send_reply(out, *id, body),
            ReplyBody::Ack(AckReply {}) => {
                reply_id(out, *id);
                out.extend_from_slice(br#""ack":{}}"#);
            }
            ReplyBody::History(body) => history_reply(out, *id, body),
            ReplyBody::Sync(body) => sync_reply(out, *id, body),
            _ => return false,
        },
    }
    true
}

/// Appends a push, without the object around it. Returns `false` if its event is not a frequent one,
/// and may have appended a part of it then.
fn push_object(out: &mut Vec<u8>, Push { pos, event }: &Push<'_>) -> bool {
    out.push(b'{');
    if let Some(pos) = pos {
        string(out, br#""pos":""#, pos);
        out.push(b',');
    }
    match event {
        Event::Message(event) => {
            out.extend_from_slice(br#""message":"#);
            message_object(out, event);
        }
        Event::Receipt(event) => receipt_event(out, event),
        Event::Edit(event) => {
            out.extend_from_slice(br#""edit":"#);
            message_object(out, event);
        }
        _ => return false,
    }
    out.push(b'}');
    true
}

/// Appends the reply to `history`. Its pages may be long.
fn history_reply(out: &mut Vec<u8>, id: u32, body: &HistoryReply<'_>) {
    reply_id(out, id);
    out.extend_from_slice(br#""history":{"messages":["#);
    for (n, message) in body.messages.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        message_object(out, message);
    }
    number(out, br#"],"first":"#, body.first);
    number(out, br#","last":"#, body.last);
    more(out, body.more);
}

/// Appends the reply to `sync`. Its pages may be long.
fn sync_reply(out: &mut Vec<u8>, id: u32, body: &SyncReply<'_>) {
    reply_id(out, id);
    out.extend_from_slice(br#""sync":{"events":["#);
    for (n, push) in body.events.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let start = out.len();
        if !push_object(out, push) {
            out.truncate(start);
            super::write(push, out);
        }
    }
    string(out, br#"],"pos":""#, &body.pos);
    more(out, body.more);
}

/// Appends whether there are further entries, and the end of the reply.
fn more(out: &mut Vec<u8>, more: bool) {
    out.extend_from_slice(match more {
        true => br#","more":true}}"#,
        false => br#","more":false}}"#,
    });
}

fn message_object(out: &mut Vec<u8>, event: &Message<'_>) {
    string(out, br#"{"conversation":""#, &event.conversation);
    number(out, br#","seq":"#, event.seq);
    string(out, br#","from":""#, &event.from);
    string(out, br#","device":""#, &event.device);
    number(out, br#","time":"#, event.time);
    if let Some(key) = &event.key {
        string(out, br#","key":""#, key);
    }
    if let Some(text) = &event.text {
        string(out, br#","text":""#, text);
    }
    if let Some(media) = &event.media {
        media_field(out, media);
    }
    if let Some(extras) = &event.extras {
        extra_fields(out, extras);
    }
    if event.recalled {
        out.extend_from_slice(br#","recalled":true"#);
    }
    if event.deleted {
        out.extend_from_slice(br#","deleted":true"#);
    }
    if !event.reactions.is_empty() {
        reactions_field(out, &event.reactions);
    }
    if event.more_reactions {
        out.extend_from_slice(br#","more_reactions":true"#);
    }
    if event.too_large {
        out.extend_from_slice(br#","too_large":true"#);
    }
    out.push(b'}');
}

fn extra_fields(out: &mut Vec<u8>, extras: &MessageExtras<'_>) {
    if let Some(seq) = extras.reply_to {
        number(out, br#","reply_to":"#, seq);
    }
    if let Some(kind) = &extras.kind {
        string(out, br#","kind":""#, kind);
    }
    if let Some(meta) = &extras.meta {
        out.extend_from_slice(br#","meta":"#);
        out.extend_from_slice(meta.as_str().as_bytes());
    }
    if let Some(time) = extras.edited {
        number(out, br#","edited":"#, time);
    }
    let mut before = &br#","mentions":["#[..];
    for name in &extras.mentions {
        listed(out, before, name);
        before = b",";
    }
    if !extras.mentions.is_empty() {
        out.push(b']');
    }
    if let Some(time) = extras.expires {
        number(out, br#","expires":"#, time);
    }
    if extras.expired {
        out.extend_from_slice(br#","expired":true"#);
    }
}

fn reactions_field(out: &mut Vec<u8>, reactions: &[MessageReaction<'_>]) {
    let mut before = &br#","reactions":[{"reaction":"#[..];
    for reaction in reactions {
        listed(out, before, &reaction.reaction);
        let mut before_user = &br#","users":["#[..];
        for user in &reaction.users {
            listed(out, before_user, user);
            before_user = b",";
        }
        if reaction.users.is_empty() {
            out.extend_from_slice(br#","users":["#);
        }
        number(out, br#"],"count":"#, reaction.count);
        out.extend_from_slice(match reaction.more {
            true => br#","more":true}"#,
            false => br#","more":false}"#,
        });
        before = br#",{"reaction":"#;
    }
    out.push(b']');
}

fn media_field(out: &mut Vec<u8>, media: &Media<'_>) {
    string(out, br#","media":{"type":""#, &media.mime);
    if let Some(data) = &media.data {
        out.extend_from_slice(br#","data":""#);
        let start = out.len();
        out.resize(start + data.len().div_ceil(3) * 4, 0);
        // The room is exact, so there is nothing to fail.
        let written = STANDARD.encode_slice(data, &mut out[start..]);
        debug_assert_eq!(written, Ok(out.len() - start));
        out.push(b'"');
    }
    if let Some(url) = &media.url {
        string(out, br#","url":""#, url);
    }
    if let Some(size) = media.size {
        number(out, br#","size":"#, size);
    }
    out.push(b'}');
}

/// Appends a receipt event with its name.
fn receipt_event(out: &mut Vec<u8>, event: &Receipt<'_>) {
    string(out, br#""receipt":{"conversation":""#, &event.conversation);
    string(out, br#","user":""#, &event.user);
    number(out, br#","delivered":"#, event.delivered);
    number(out, br#","read":"#, event.read);
    number(out, br#","time":"#, event.time);
    out.push(b'}');
}

fn send_reply(out: &mut Vec<u8>, id: u32, body: &SendReply<'_>) {
    reply_id(out, id);
    string(out, br#""send":{"conversation":""#, &body.conversation);
    number(out, br#","seq":"#, body.seq);
    string(out, br#","pos":""#, &body.pos);
    number(out, br#","time":"#, body.time);
    out.extend_from_slice(if body.duplicate {
        br#","duplicate":true}}"#
    } else {
        br#","duplicate":false}}"#
    });
}

fn reply_id(out: &mut Vec<u8>, id: u32) {
    out.push(b'{');
    if id != 0 {
        number(out, br#""id":"#, id);
        out.push(b',');
    }
}

/// Appends a text of a list, with what stands before it there.
fn listed(out: &mut Vec<u8>, before: &[u8], value: &str) {
    out.extend_from_slice(before);
    write_string(out, value);
}

/// Appends a text and its closing quote. `before` is what stands before it, with the opening quote. Generic in
/// the length, so that copying it is a few instructions instead of a call.
fn string<const N: usize>(out: &mut Vec<u8>, before: &[u8; N], value: &str) {
    out.extend_from_slice(before);
    write_content(out, value);
}

/// Appends a number. `before` is what stands before it.
fn number<const N: usize>(out: &mut Vec<u8>, before: &[u8; N], value: impl itoa::Integer) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}
