//! What the server says, in the generated types and back.

use prost::Message as _;

use super::{append, media_from_wire, media_to_wire, owned, text, wire};
use crate::encoding::DecodeError;
use crate::message as m;

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
