//! Converts pushes from the generated types.

use super::server::missing;
use super::{json, media_from_wire, meta, text, texts, wire};
use crate::error::DecodeError;
use crate::message as m;

/// Converts a push.
pub(super) fn push<'a>(push: wire::Push) -> Result<m::Push<'a>, DecodeError> {
    use wire::push::Event as E;
    let event = match push.event.ok_or_else(|| missing("event"))? {
        E::Message(e) => m::Event::Message(message(e)?),
        E::Receipt(e) => m::Event::Receipt(m::Receipt {
            conversation: e.conversation.into(),
            user: e.user.into(),
            delivered: e.delivered,
            read: e.read,
            time: e.time,
        }),
        E::Edit(e) => m::Event::Edit(message(e)?),
        E::Gap(e) => m::Event::Gap(m::Gap { pos: e.pos.into() }),
        E::CaughtUp(e) => m::Event::CaughtUp(m::CaughtUp { pos: e.pos.into() }),
        E::Disconnect(e) => m::Event::Disconnect(m::Disconnect {
            code: u16::try_from(e.code).map_err(|e| DecodeError(e.to_string()))?,
            reason: e.reason.into(),
            reconnect: e.reconnect,
            delay_ms: [e.delay_min_ms, e.delay_max_ms],
        }),
        E::Recall(e) => m::Event::Recall(m::Recalled {
            conversation: e.conversation.into(),
            seq: e.seq,
            by: e.by.into(),
            time: e.time,
        }),
        E::Delete(e) => m::Event::Delete(m::Deleted {
            conversation: e.conversation.into(),
            seq: e.seq,
            time: e.time,
        }),
        E::Reaction(e) => m::Event::Reaction(m::Reacted {
            conversation: e.conversation.into(),
            seq: e.seq,
            user: e.user.into(),
            reaction: e.reaction.into(),
            removed: e.removed,
            time: e.time,
        }),
        E::Group(e) => m::Event::Group(m::GroupChanged {
            conversation: e.conversation.into(),
            change: m::ChangeKind::from_wire(e.change).ok_or_else(|| missing("change"))?,
            by: e.by.into(),
            members: texts(e.members),
            name: text(e.name),
            role: e.role.map(known(m::Role::from_wire, "role")).transpose()?,
            picture: text(e.picture),
            send: e
                .send
                .map(known(m::Senders::from_wire, "send"))
                .transpose()?,
            join: e
                .join
                .map(known(m::Joining::from_wire, "join"))
                .transpose()?,
            seq: e.seq,
            time: e.time,
        }),
        E::Settings(e) => m::Event::Settings(m::ConversationSettings {
            conversation: e.conversation.into(),
            muted_until: e.muted_until,
            pinned: e.pinned,
            archived: e.archived,
            time: e.time,
        }),
        E::Presence(e) => m::Event::Presence(presence(e)),
        E::Typing(e) => m::Event::Typing(m::TypingUser {
            conversation: e.conversation.into(),
            user: e.user.into(),
            stop: e.stop,
            expires_ms: e.expires_ms,
        }),
        E::Signal(e) => m::Event::Signal(m::Signalled {
            user: e.user.into(),
            data: json(&e.data).map_err(|e| DecodeError(e.to_string()))?,
        }),
        E::Publication(e) => m::Event::Publication(m::Publication {
            topic: e.topic.into(),
            data: json(&e.data).map_err(|e| DecodeError(e.to_string()))?,
            from: e.from.into(),
            pos: e.pos.into(),
        }),
    };
    Ok(m::Push {
        pos: text(push.pos),
        event,
    })
}

/// Returns what reads the word of a field, which must be one of this version.
fn known<T>(
    read: impl Fn(i32) -> Option<T>,
    field: &'static str,
) -> impl Fn(i32) -> Result<T, DecodeError> {
    move |number| read(number).ok_or_else(|| missing(field))
}

/// Converts a message.
pub(super) fn message<'a>(e: wire::Message) -> Result<m::Message<'a>, DecodeError> {
    Ok(m::Message {
        conversation: e.conversation.into(),
        seq: e.seq,
        from: e.from.into(),
        device: e.device.into(),
        time: e.time,
        key: text(e.key),
        text: text(e.text),
        media: e.media.map(media_from_wire),
        extras: m::MessageExtras {
            reply_to: e.reply_to,
            kind: text(e.kind),
            meta: meta(e.meta).map_err(|e| DecodeError(e.to_string()))?,
            edited: e.edited,
            mentions: texts(e.mentions),
            expires: e.expires,
            expired: e.expired,
        }
        .boxed(),
        recalled: e.recalled,
        deleted: e.deleted,
        reactions: e.reactions.into_iter().map(reaction).collect(),
        more_reactions: e.more_reactions,
        too_large: e.too_large,
    })
}

/// Converts a reaction.
pub(super) fn reaction<'a>(r: wire::MessageReaction) -> m::MessageReaction<'a> {
    m::MessageReaction {
        reaction: r.reaction.into(),
        users: texts(r.users),
        count: r.count,
        more: r.more,
    }
}

/// Converts the presence of a user.
pub(super) fn presence<'a>(p: wire::UserPresence) -> m::UserPresence<'a> {
    m::UserPresence {
        user: p.user.into(),
        online: p.online,
        devices: p.devices,
        last_seen: p.last_seen,
    }
}
