//! What the server says, out of the generated types.

use prost::Message as _;

use super::{media_from_wire, text, wire};
use crate::encoding::DecodeError;
use crate::message as m;

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
