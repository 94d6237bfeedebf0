//! Converts replies from the generated types.

use super::server::missing;
use super::{event, json, text, wire};
use crate::error::DecodeError;
use crate::message as m;

/// Converts a reply.
pub(super) fn read<'a>(reply: wire::Reply) -> Result<m::Reply<'a>, DecodeError> {
    use wire::reply::Reply as R;
    let body = match reply.reply.ok_or_else(|| missing("reply"))? {
        R::Error(r) => m::ReplyBody::Error(m::ErrorReply {
            code: u16::try_from(r.code).map_err(|e| DecodeError(e.to_string()))?,
            name: r.name.into(),
            message: r.message.into(),
            temporary: r.temporary,
            limit: text(r.limit),
            retry_ms: r.retry_ms,
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
                expires: r.expires,
                unsubscribed: r.unsubscribed.into_iter().map(Into::into).collect(),
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
                .map(event::push)
                .collect::<Result<_, _>>()?,
            pos: r.pos.into(),
            more: r.more,
        }),
        R::History(r) => m::ReplyBody::History(m::HistoryReply {
            messages: r
                .messages
                .into_iter()
                .map(event::message)
                .collect::<Result<_, _>>()?,
            first: r.first,
            last: r.last,
            more: r.more,
        }),
        R::Get(r) => {
            let message = r.message.ok_or_else(|| missing("message"))?;
            m::ReplyBody::Get(m::GetReply {
                message: event::message(message)?,
            })
        }
        R::Ping(_) => m::ReplyBody::Ping(m::Ping {}),
        R::GroupLeave(_) => m::ReplyBody::GroupLeave(m::Done {}),
        R::GroupRename(_) => m::ReplyBody::GroupRename(m::Done {}),
        R::Recall(_) => m::ReplyBody::Recall(m::Done {}),
        R::Delete(_) => m::ReplyBody::Delete(m::Done {}),
        R::React(_) => m::ReplyBody::React(m::Done {}),
        R::Edit(_) => m::ReplyBody::Edit(m::Done {}),
        R::Typing(_) => m::ReplyBody::Typing(m::Done {}),
        R::GroupRole(_) => m::ReplyBody::GroupRole(m::Done {}),
        R::GroupSet(_) => m::ReplyBody::GroupSet(m::Done {}),
        R::Pin(_) => m::ReplyBody::Pin(m::Done {}),
        R::Unpin(_) => m::ReplyBody::Unpin(m::Done {}),
        R::Block(_) => m::ReplyBody::Block(m::Done {}),
        R::Unblock(_) => m::ReplyBody::Unblock(m::Done {}),
        R::Settings(_) => m::ReplyBody::Settings(m::Done {}),
        other => listing(other)?,
    };
    Ok(m::Reply { id: reply.id, body })
}

/// Converts a reply about groups, conversations or presence.
fn listing<'a>(reply: wire::reply::Reply) -> Result<m::ReplyBody<'a>, DecodeError> {
    use wire::reply::Reply as R;
    let members = |r: wire::GroupMembersReply| m::GroupMembersReply { members: r.members };
    let subscribed = |r: wire::SubscribeReply| m::SubscribeReply {
        pos: r.pos.into(),
        recovered: r.recovered,
    };
    Ok(match reply {
        R::Receipts(r) => m::ReplyBody::Receipts(receipts(r)?),
        R::Conversations(r) => m::ReplyBody::Conversations(m::ConversationsReply {
            conversations: r
                .conversations
                .into_iter()
                .map(entry)
                .collect::<Result<_, _>>()?,
            unread: r.unread,
            cursor: r.cursor.into(),
            more: r.more,
        }),
        R::Search(r) => m::ReplyBody::Search(m::SearchReply {
            messages: r
                .messages
                .into_iter()
                .map(event::message)
                .collect::<Result<_, _>>()?,
            next: r.next.map(Into::into),
        }),
        R::GroupCreate(r) => m::ReplyBody::GroupCreate(m::GroupCreateReply {
            conversation: r.conversation.into(),
            members: r.members,
            duplicate: r.duplicate,
        }),
        R::GroupAdd(r) => m::ReplyBody::GroupAdd(members(r)),
        R::GroupRemove(r) => m::ReplyBody::GroupRemove(members(r)),
        R::GroupJoin(r) => m::ReplyBody::GroupJoin(members(r)),
        R::Blocked(r) => m::ReplyBody::Blocked(m::BlockedReply {
            users: r.users.into_iter().map(Into::into).collect(),
            more: r.more,
        }),
        R::GroupInfo(r) => m::ReplyBody::GroupInfo(group_info(r)?),
        R::Contacts(r) => m::ReplyBody::Contacts(m::ContactsReply {
            contacts: r.contacts.into_iter().map(contact).collect(),
            more: r.more,
        }),
        R::Presence(r) => m::ReplyBody::Presence(m::PresenceReply {
            users: r.users.into_iter().map(event::presence).collect(),
            more: r.more,
        }),
        R::Reactions(r) => m::ReplyBody::Reactions(m::ReactionsReply {
            reactions: r.reactions.into_iter().map(event::reaction).collect(),
            more: r.more,
        }),
        R::Signal(r) => m::ReplyBody::Signal(m::SignalReply { online: r.online }),
        R::Subscribe(r) => m::ReplyBody::Subscribe(subscribed(r)),
        R::Unsubscribe(r) => m::ReplyBody::Unsubscribe(subscribed(r)),
        R::Publish(r) => m::ReplyBody::Publish(m::PublishReply { pos: r.pos.into() }),
        R::Rpc(r) => m::ReplyBody::Rpc(m::RpcReply {
            data: json(&r.data).map_err(|e| DecodeError(e.to_string()))?,
        }),
        _ => return Err(missing("reply")),
    })
}

fn receipts<'a>(r: wire::ReceiptsReply) -> Result<m::ReceiptsReply<'a>, DecodeError> {
    let counts = r.counts.ok_or_else(|| missing("counts"))?;
    let user = |u: wire::ReceiptUser| m::ReceiptUser {
        user: u.user.into(),
        seq: u.seq,
        time: u.time,
    };
    Ok(m::ReceiptsReply {
        counts: m::ReceiptCounts {
            members: counts.members,
            delivered: counts.delivered,
            read: counts.read,
        },
        users: r.users.into_iter().map(user).collect(),
        more: r.more,
    })
}

fn entry<'a>(e: wire::ConversationEntry) -> Result<m::ConversationEntry<'a>, DecodeError> {
    Ok(m::ConversationEntry {
        conversation: e.conversation.into(),
        last: e.last.map(event::message).transpose()?,
        read: e.read,
        unread: e.unread,
        members: e.members,
        mentions: e.mentions,
        muted_until: e.muted_until,
        pinned: e.pinned,
        archived: e.archived,
    })
}

fn group_info<'a>(r: wire::GroupInfoReply) -> Result<m::GroupInfoReply<'a>, DecodeError> {
    let member = |member: wire::GroupMember| {
        Ok(m::GroupMember {
            user: member.user.into(),
            role: m::Role::from_wire(member.role).ok_or_else(|| missing("role"))?,
            since: member.since,
        })
    };
    Ok(m::GroupInfoReply {
        group: r.group.into(),
        name: text(r.name),
        picture: text(r.picture),
        history: m::Visibility::from_wire(r.history).ok_or_else(|| missing("history"))?,
        send: m::Senders::from_wire(r.send).ok_or_else(|| missing("send"))?,
        join: m::Joining::from_wire(r.join).ok_or_else(|| missing("join"))?,
        pins: r
            .pins
            .into_iter()
            .map(|pin| m::PinnedMessage {
                seq: pin.seq,
                time: pin.time,
            })
            .collect(),
        count: r.count,
        members: r
            .members
            .into_iter()
            .map(member)
            .collect::<Result<_, DecodeError>>()?,
        more: r.more,
    })
}

fn contact<'a>(c: wire::Contact) -> m::Contact<'a> {
    m::Contact {
        user: c.user.into(),
        online: c.online,
        last_seen: c.last_seen,
    }
}
