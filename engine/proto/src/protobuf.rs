//! The protobuf form: conversions between the generated types and [`crate::message`].

use std::borrow::Cow;

use prost::Message as _;

use crate::encoding::{BadCommand, DecodeError};
use crate::error::ErrorCode;
use crate::message as m;
use crate::text::Str;

/// The types generated from `trunkline.proto`.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/trunkline.v1.rs"));
}

/// Reads the length-delimited commands of a binary frame.
pub(crate) fn decode_commands<'a>(
    mut payload: &'a [u8],
    each: &mut dyn FnMut(Result<m::Command<'a>, BadCommand>),
) {
    if payload.is_empty() {
        each(Err(bad(0, "the frame holds no command")));
    }
    while !payload.is_empty() {
        match wire::Command::decode_length_delimited(&mut payload) {
            Ok(command) => each(command_from_wire(command)),
            // The length itself may be what is broken: the rest of the frame is lost.
            Err(error) => return each(Err(bad(0, &error.to_string()))),
        }
    }
}

fn bad(id: u32, message: &str) -> BadCommand {
    BadCommand {
        id,
        code: ErrorCode::BadRequest,
        message: message.to_owned(),
    }
}

fn command_from_wire<'a>(command: wire::Command) -> Result<m::Command<'a>, BadCommand> {
    use wire::command::Command as C;
    let id = command.id;
    let body = match command.command {
        Some(C::Connect(c)) => m::CommandBody::Connect(m::Connect {
            token: text(c.token),
            user: text(c.user),
            namespace: text(c.namespace),
            device: text(c.device),
            since: text(c.since),
            resume: c.resume,
            batch: c.batch,
        }),
        Some(C::Send(c)) => m::CommandBody::Send(m::Send {
            user: text(c.user),
            group: text(c.group),
            key: text(c.key),
            text: text(c.text),
            media: c.media.map(media_from_wire),
        }),
        Some(C::Ack(c)) => m::CommandBody::Ack(m::Ack {
            conversation: c.conversation.into(),
            delivered: c.delivered,
            read: c.read,
        }),
        Some(C::Sync(c)) => m::CommandBody::Sync(m::Sync {
            since: c.since.into(),
            limit: c.limit,
        }),
        Some(C::History(c)) => m::CommandBody::History(m::History {
            conversation: c.conversation.into(),
            before: c.before,
            after: c.after,
            limit: c.limit,
        }),
        Some(C::Get(c)) => m::CommandBody::Get(m::Get {
            conversation: c.conversation.into(),
            seq: c.seq,
        }),
        Some(C::Ping(_)) => m::CommandBody::Ping(m::Ping {}),
        None => {
            return Err(BadCommand {
                id,
                code: ErrorCode::UnknownCommand,
                message: "the message names no command of this protocol version".into(),
            });
        }
    };
    Ok(m::Command { id, body })
}

/// Appends a command with its length before it.
pub(crate) fn encode_command(command: &m::Command<'_>, out: &mut Vec<u8>) {
    use wire::command::Command as C;
    let body = match &command.body {
        m::CommandBody::Connect(c) => C::Connect(wire::Connect {
            token: owned(c.token.as_ref()),
            user: owned(c.user.as_ref()),
            namespace: owned(c.namespace.as_ref()),
            device: owned(c.device.as_ref()),
            since: owned(c.since.as_ref()),
            resume: c.resume,
            batch: c.batch,
        }),
        m::CommandBody::Send(c) => C::Send(wire::Send {
            user: owned(c.user.as_ref()),
            group: owned(c.group.as_ref()),
            key: owned(c.key.as_ref()),
            text: owned(c.text.as_ref()),
            media: c.media.as_ref().map(media_to_wire),
        }),
        m::CommandBody::Ack(c) => C::Ack(wire::Ack {
            conversation: c.conversation.to_string(),
            delivered: c.delivered,
            read: c.read,
        }),
        m::CommandBody::Sync(c) => C::Sync(wire::Sync {
            since: c.since.to_string(),
            limit: c.limit,
        }),
        m::CommandBody::History(c) => C::History(wire::History {
            conversation: c.conversation.to_string(),
            before: c.before,
            after: c.after,
            limit: c.limit,
        }),
        m::CommandBody::Get(c) => C::Get(wire::Get {
            conversation: c.conversation.to_string(),
            seq: c.seq,
        }),
        m::CommandBody::Ping(_) => C::Ping(wire::Ping {}),
    };
    append(
        &wire::Command {
            id: command.id,
            command: Some(body),
        },
        out,
    );
}

fn append(message: &impl prost::Message, out: &mut Vec<u8>) {
    // A Vec grows: the only error there is cannot occur.
    let encoded = message.encode_length_delimited(out);
    debug_assert!(encoded.is_ok());
}

/// Appends a server message with its length before it.
pub(crate) fn encode_server(message: &m::ServerMessage<'_>, out: &mut Vec<u8>) {
    use wire::server_message::Message as S;
    let message = match message {
        m::ServerMessage::Reply(reply) => S::Reply(reply_to_wire(reply)),
        m::ServerMessage::Push(push) => S::Push(push_to_wire(push)),
    };
    append(
        &wire::ServerMessage {
            message: Some(message),
        },
        out,
    );
}

fn reply_to_wire(reply: &m::Reply<'_>) -> wire::Reply {
    use wire::reply::Reply as R;
    let body = match &reply.body {
        m::ReplyBody::Error(r) => R::Error(wire::Error {
            code: r.code.into(),
            name: r.name.to_string(),
            message: r.message.to_string(),
            temporary: r.temporary,
        }),
        m::ReplyBody::Connect(r) => R::Connect(wire::ConnectReply {
            session: r.session.to_string(),
            user: r.user.to_string(),
            device: r.device.to_string(),
            pos: r.pos.to_string(),
            recovered: r.recovered,
            time: r.time,
            ping_ms: r.ping_ms,
            limits: Some(wire::ConnectLimits {
                message_bytes: r.limits.message_bytes,
                text_bytes: r.limits.text_bytes,
                key_bytes: r.limits.key_bytes,
                page: r.limits.page,
            }),
        }),
        m::ReplyBody::Send(r) => R::Send(wire::SendReply {
            conversation: r.conversation.to_string(),
            seq: r.seq,
            pos: r.pos.to_string(),
            time: r.time,
            duplicate: r.duplicate,
        }),
        m::ReplyBody::Ack(_) => R::Ack(wire::AckReply {}),
        m::ReplyBody::Sync(r) => R::Sync(wire::SyncReply {
            events: r.events.iter().map(push_to_wire).collect(),
            pos: r.pos.to_string(),
            more: r.more,
        }),
        m::ReplyBody::History(r) => R::History(wire::HistoryReply {
            messages: r.messages.iter().map(message_to_wire).collect(),
            first: r.first,
            last: r.last,
        }),
        m::ReplyBody::Get(r) => R::Get(wire::GetReply {
            message: Some(message_to_wire(&r.message)),
        }),
        m::ReplyBody::Ping(_) => R::Ping(wire::PingReply {}),
    };
    wire::Reply {
        id: reply.id,
        reply: Some(body),
    }
}

fn push_to_wire(push: &m::Push<'_>) -> wire::Push {
    use wire::push::Event as E;
    let event = match &push.event {
        m::Event::Message(e) => E::Message(message_to_wire(e)),
        m::Event::Receipt(e) => E::Receipt(wire::Receipt {
            conversation: e.conversation.to_string(),
            user: e.user.to_string(),
            delivered: e.delivered,
            read: e.read,
            time: e.time,
        }),
        m::Event::Gap(e) => E::Gap(wire::Gap {
            pos: e.pos.to_string(),
        }),
        m::Event::Disconnect(e) => E::Disconnect(wire::Disconnect {
            code: e.code.into(),
            reason: e.reason.to_string(),
            reconnect: e.reconnect,
            delay_min_ms: e.delay_ms[0],
            delay_max_ms: e.delay_ms[1],
        }),
    };
    wire::Push {
        pos: owned(push.pos.as_ref()),
        event: Some(event),
    }
}

fn message_to_wire(e: &m::Message<'_>) -> wire::Message {
    wire::Message {
        conversation: e.conversation.to_string(),
        seq: e.seq,
        from: e.from.to_string(),
        device: e.device.to_string(),
        time: e.time,
        key: owned(e.key.as_ref()),
        text: owned(e.text.as_ref()),
        media: e.media.as_ref().map(media_to_wire),
    }
}

fn media_to_wire(media: &m::Media<'_>) -> wire::Media {
    wire::Media {
        r#type: media.mime.to_string(),
        data: media
            .data
            .as_ref()
            .map(|d| bytes::Bytes::copy_from_slice(d)),
        url: owned(media.url.as_ref()),
        size: media.size,
    }
}

/// Reads the length-delimited server messages of a binary frame.
pub(crate) fn decode_server<'a>(
    mut payload: &'a [u8],
    each: &mut dyn FnMut(m::ServerMessage<'a>),
) -> Result<(), DecodeError> {
    use wire::server_message::Message as S;
    while !payload.is_empty() {
        let message = wire::ServerMessage::decode_length_delimited(&mut payload)
            .map_err(|e| DecodeError(e.to_string()))?;
        each(match message.message {
            Some(S::Reply(reply)) => m::ServerMessage::Reply(reply_from_wire(reply)?),
            Some(S::Push(push)) => m::ServerMessage::Push(push_from_wire(push)?),
            None => return Err(missing("reply or push")),
        });
    }
    Ok(())
}

fn missing(what: &str) -> DecodeError {
    DecodeError(format!("no known {what}"))
}

fn reply_from_wire<'a>(reply: wire::Reply) -> Result<m::Reply<'a>, DecodeError> {
    use wire::reply::Reply as R;
    let body = match reply.reply.ok_or_else(|| missing("reply"))? {
        R::Error(r) => m::ReplyBody::Error(m::ErrorReply {
            code: u16::try_from(r.code).map_err(|e| DecodeError(e.to_string()))?,
            name: r.name.into(),
            message: r.message.into(),
            temporary: r.temporary,
        }),
        R::Connect(r) => {
            let limits = r.limits.ok_or_else(|| missing("limits"))?;
            m::ReplyBody::Connect(m::ConnectReply {
                session: r.session.into(),
                user: r.user.into(),
                device: r.device.into(),
                pos: r.pos.into(),
                recovered: r.recovered,
                time: r.time,
                ping_ms: r.ping_ms,
                limits: m::ConnectLimits {
                    message_bytes: limits.message_bytes,
                    text_bytes: limits.text_bytes,
                    key_bytes: limits.key_bytes,
                    page: limits.page,
                },
            })
        }
        R::Send(r) => m::ReplyBody::Send(m::SendReply {
            conversation: r.conversation.into(),
            seq: r.seq,
            pos: r.pos.into(),
            time: r.time,
            duplicate: r.duplicate,
        }),
        R::Ack(_) => m::ReplyBody::Ack(m::AckReply {}),
        R::Sync(r) => m::ReplyBody::Sync(m::SyncReply {
            events: r
                .events
                .into_iter()
                .map(push_from_wire)
                .collect::<Result<_, _>>()?,
            pos: r.pos.into(),
            more: r.more,
        }),
        R::History(r) => m::ReplyBody::History(m::HistoryReply {
            messages: r.messages.into_iter().map(message_from_wire).collect(),
            first: r.first,
            last: r.last,
        }),
        R::Get(r) => {
            let message = r.message.ok_or_else(|| missing("message"))?;
            m::ReplyBody::Get(m::GetReply {
                message: message_from_wire(message),
            })
        }
        R::Ping(_) => m::ReplyBody::Ping(m::Ping {}),
    };
    Ok(m::Reply { id: reply.id, body })
}

fn push_from_wire<'a>(push: wire::Push) -> Result<m::Push<'a>, DecodeError> {
    use wire::push::Event as E;
    let event = match push.event.ok_or_else(|| missing("event"))? {
        E::Message(e) => m::Event::Message(message_from_wire(e)),
        E::Receipt(e) => m::Event::Receipt(m::Receipt {
            conversation: e.conversation.into(),
            user: e.user.into(),
            delivered: e.delivered,
            read: e.read,
            time: e.time,
        }),
        E::Gap(e) => m::Event::Gap(m::Gap { pos: e.pos.into() }),
        E::Disconnect(e) => m::Event::Disconnect(m::Disconnect {
            code: u16::try_from(e.code).map_err(|e| DecodeError(e.to_string()))?,
            reason: e.reason.into(),
            reconnect: e.reconnect,
            delay_ms: [e.delay_min_ms, e.delay_max_ms],
        }),
    };
    Ok(m::Push {
        pos: text(push.pos),
        event,
    })
}

fn message_from_wire<'a>(e: wire::Message) -> m::Message<'a> {
    m::Message {
        conversation: e.conversation.into(),
        seq: e.seq,
        from: e.from.into(),
        device: e.device.into(),
        time: e.time,
        key: text(e.key),
        text: text(e.text),
        media: e.media.map(media_from_wire),
    }
}

fn media_from_wire<'a>(media: wire::Media) -> m::Media<'a> {
    m::Media {
        mime: media.r#type.into(),
        data: media.data.map(|d| Cow::Owned(d.to_vec())),
        url: text(media.url),
        size: media.size,
    }
}

fn text<'a>(text: Option<String>) -> Option<Str<'a>> {
    text.map(Str::from)
}

fn owned(text: Option<&Str<'_>>) -> Option<String> {
    text.map(|t| t.to_string())
}
