//! Converts commands from the generated types.

use super::{bad, explain, json, media_from_wire, meta, text, texts, wire};
use crate::error::{BadCommand, ErrorCode};
use crate::message as m;
use crate::text::Str;

/// Converts a command.
pub(super) fn from_wire<'a>(command: wire::Command) -> Result<m::Command<'a>, BadCommand> {
    let id = command.id;
    let Some(body) = command.command else {
        return Err(BadCommand {
            id,
            code: ErrorCode::UnknownCommand,
            message: "the message names no command of this protocol version".into(),
        });
    };
    let body = body_from_wire(body).map_err(|message| bad(id, &message))?;
    match missing_field(&body) {
        Some(field) => Err(bad(id, &explain::missing(&field))),
        None => Ok(m::Command { id, body }),
    }
}

fn body_from_wire<'a>(body: wire::command::Command) -> Result<m::CommandBody<'a>, String> {
    use wire::command::Command as C;
    Ok(match body {
        C::Connect(c) => m::CommandBody::Connect(m::Connect {
            token: text(c.token),
            user: text(c.user),
            namespace: text(c.namespace),
            device: text(c.device),
            since: text(c.since),
            resume: c.resume,
            batch: c.batch,
        }),
        C::Send(c) => m::CommandBody::Send(m::Send {
            user: text(c.user),
            group: text(c.group),
            key: text(c.key),
            text: text(c.text),
            media: c.media.map(media_from_wire),
            extras: m::SendExtras {
                reply_to: c.reply_to,
                kind: text(c.kind),
                meta: meta(c.meta).map_err(|e| e.under("send.meta"))?,
                mentions: texts(c.mentions),
                ttl: text(c.ttl),
            }
            .boxed(),
        }),
        C::Ack(c) => m::CommandBody::Ack(m::Ack {
            conversation: c.conversation.into(),
            delivered: c.delivered,
            read: c.read,
        }),
        C::Sync(c) => m::CommandBody::Sync(m::Sync {
            since: c.since.into(),
            limit: c.limit,
        }),
        C::History(c) => m::CommandBody::History(m::History {
            conversation: c.conversation.into(),
            before: c.before,
            after: c.after,
            limit: c.limit,
            thread: c.thread,
        }),
        C::Get(c) => m::CommandBody::Get(m::Get {
            conversation: c.conversation.into(),
            seq: c.seq,
        }),
        C::Receipts(c) => m::CommandBody::Receipts(m::Receipts {
            conversation: c.conversation.into(),
            seq: c.seq,
            state: m::ReceiptState::from_wire(c.state)
                .ok_or_else(|| unknown_word("receipts.state", c.state))?,
            after: text(c.after),
            limit: c.limit,
        }),
        C::Conversations(c) => m::CommandBody::Conversations(m::Conversations {
            after: text(c.after),
            limit: c.limit,
        }),
        C::Recall(c) => m::CommandBody::Recall(message_ref(c)),
        C::Delete(c) => m::CommandBody::Delete(message_ref(c)),
        C::React(c) => m::CommandBody::React(m::React {
            conversation: c.conversation.into(),
            seq: c.seq,
            reaction: c.reaction.into(),
            remove: c.remove,
        }),
        C::Ping(_) => m::CommandBody::Ping(m::Ping {}),
        group @ (C::GroupCreate(_)
        | C::GroupAdd(_)
        | C::GroupRemove(_)
        | C::GroupLeave(_)
        | C::GroupRename(_)
        | C::GroupInfo(_)
        | C::GroupRole(_)
        | C::GroupSet(_)
        | C::GroupJoin(_)) => return group_from_wire(group),
        own @ (C::Edit(_)
        | C::Reactions(_)
        | C::Pin(_)
        | C::Unpin(_)
        | C::Block(_)
        | C::Unblock(_)
        | C::Blocked(_)
        | C::Settings(_)
        | C::Search(_)) => return own_from_wire(own),
        other => return ephemeral_from_wire(other),
    })
}

/// Converts a command that edits or pins a message, or about blocked users or settings.
fn own_from_wire<'a>(body: wire::command::Command) -> Result<m::CommandBody<'a>, String> {
    use wire::command::Command as C;
    Ok(match body {
        C::Reactions(c) => m::CommandBody::Reactions(m::Reactions {
            conversation: c.conversation.into(),
            seq: c.seq,
            reaction: text(c.reaction),
            after: text(c.after),
            limit: c.limit,
        }),
        C::Edit(c) => m::CommandBody::Edit(Box::new(m::Edit {
            conversation: c.conversation.into(),
            seq: c.seq,
            text: text(c.text),
            media: c.media.map(media_from_wire),
            meta: meta(c.meta).map_err(|e| e.under("edit.meta"))?,
        })),
        C::Pin(c) => m::CommandBody::Pin(message_ref(c)),
        C::Unpin(c) => m::CommandBody::Unpin(message_ref(c)),
        C::Block(c) => m::CommandBody::Block(user_ref(c)),
        C::Unblock(c) => m::CommandBody::Unblock(user_ref(c)),
        C::Blocked(c) => m::CommandBody::Blocked(m::Blocked {
            after: text(c.after),
            limit: c.limit,
        }),
        C::Search(c) => m::CommandBody::Search(m::Search {
            text: c.text.into(),
            conversation: text(c.conversation),
            after: text(c.after),
            limit: c.limit,
        }),
        C::Settings(c) => m::CommandBody::Settings(m::Settings {
            conversation: c.conversation.into(),
            muted_until: c.muted_until,
            pinned: c.pinned,
            archived: c.archived,
        }),
        _ => return Err("no command about messages, blocked users or settings".into()),
    })
}

/// Converts a command about groups.
fn group_from_wire<'a>(body: wire::command::Command) -> Result<m::CommandBody<'a>, String> {
    use wire::command::Command as C;
    Ok(match body {
        C::GroupCreate(c) => m::CommandBody::GroupCreate(m::GroupCreate {
            group: c.group.into(),
            name: text(c.name),
            members: texts(c.members),
            history: m::Visibility::from_wire(c.history)
                .ok_or_else(|| unknown_word("group_create.history", c.history))?,
            key: text(c.key),
        }),
        C::GroupAdd(c) => m::CommandBody::GroupAdd(group_members(c)),
        C::GroupRemove(c) => m::CommandBody::GroupRemove(group_members(c)),
        C::GroupLeave(c) => m::CommandBody::GroupLeave(m::GroupLeave {
            group: c.group.into(),
        }),
        C::GroupRename(c) => m::CommandBody::GroupRename(m::GroupRename {
            group: c.group.into(),
            name: c.name.into(),
        }),
        C::GroupInfo(c) => m::CommandBody::GroupInfo(m::GroupInfo {
            group: c.group.into(),
            after: text(c.after),
            limit: c.limit,
        }),
        C::GroupRole(c) => m::CommandBody::GroupRole(m::GroupRole {
            group: c.group.into(),
            user: c.user.into(),
            role: word("group_role.role", c.role, m::Role::from_wire)?
                .ok_or_else(|| explain::missing("group_role.role"))?,
        }),
        C::GroupSet(c) => m::CommandBody::GroupSet(m::GroupSet {
            group: c.group.into(),
            name: text(c.name),
            picture: text(c.picture),
            send: word("group_set.send", c.send, m::Senders::from_wire)?,
            join: word("group_set.join", c.join, m::Joining::from_wire)?,
        }),
        C::GroupJoin(c) => m::CommandBody::GroupJoin(m::GroupJoin {
            group: c.group.into(),
        }),
        _ => return Err("no command about groups".into()),
    })
}

/// Converts a command whose effect is not stored.
fn ephemeral_from_wire<'a>(body: wire::command::Command) -> Result<m::CommandBody<'a>, String> {
    use wire::command::Command as C;
    Ok(match body {
        C::Contacts(c) => m::CommandBody::Contacts(m::Contacts {
            add: texts(c.add),
            remove: texts(c.remove),
            watch: c.watch,
            after: text(c.after),
            limit: c.limit,
        }),
        C::Presence(c) => m::CommandBody::Presence(m::Presence {
            watch: texts(c.watch),
            unwatch: texts(c.unwatch),
            query: texts(c.query),
        }),
        C::Typing(c) => m::CommandBody::Typing(m::Typing {
            conversation: c.conversation.into(),
            stop: c.stop,
        }),
        C::Signal(c) => m::CommandBody::Signal(m::Signal {
            data: json(&c.data).map_err(|e| e.under("signal.data"))?,
            user: c.user.into(),
        }),
        C::Subscribe(c) => m::CommandBody::Subscribe(m::Subscribe {
            topic: c.topic.into(),
            since: text(c.since),
        }),
        C::Unsubscribe(c) => m::CommandBody::Unsubscribe(m::Unsubscribe {
            topic: c.topic.into(),
        }),
        C::Publish(c) => m::CommandBody::Publish(m::Publish {
            data: json(&c.data).map_err(|e| e.under("publish.data"))?,
            topic: c.topic.into(),
        }),
        C::Rpc(c) => m::CommandBody::Rpc(m::Rpc {
            data: json(&c.data).map_err(|e| e.under("rpc.data"))?,
            method: c.method.into(),
        }),
        _ => return Err("no command about what is not stored".into()),
    })
}

/// Returns the error text for a number that its enum does not have.
fn unknown_word(path: &str, number: i32) -> String {
    match number {
        0 => explain::missing(path),
        number => explain::missing(path).replace("nothing", &number.to_string()),
    }
}

/// Returns the word of a field that may be absent.
fn word<T>(
    path: &str,
    number: Option<i32>,
    read: impl Fn(i32) -> Option<T>,
) -> Result<Option<T>, String> {
    let word = |number| read(number).ok_or_else(|| unknown_word(path, number));
    number.map(word).transpose()
}

fn user_ref<'a>(c: wire::UserRef) -> m::UserRef<'a> {
    m::UserRef {
        user: c.user.into(),
    }
}

fn message_ref<'a>(c: wire::MessageRef) -> m::MessageRef<'a> {
    m::MessageRef {
        conversation: c.conversation.into(),
        seq: c.seq,
    }
}

fn group_members<'a>(c: wire::GroupMembers) -> m::GroupMembers<'a> {
    m::GroupMembers {
        group: c.group.into(),
        members: texts(c.members),
    }
}

/// Returns the path of the first required field that is absent.
///
/// proto3 writes an absent field like a zero value. No required field may be empty or zero, so an
/// empty or zero field is missing.
fn missing_field(body: &m::CommandBody<'_>) -> Option<String> {
    use m::CommandBody as C;
    let place = |conversation: &Str<'_>, seq: u64| {
        [("conversation", conversation.is_empty()), ("seq", seq == 0)]
    };
    let one = |field, value: &Str<'_>| [(field, value.is_empty()), ("", false)];
    let required: [(&str, bool); 2] = match body {
        C::Ack(c) => one("conversation", &c.conversation),
        C::Sync(c) => one("since", &c.since),
        C::History(c) => one("conversation", &c.conversation),
        C::Get(c) => place(&c.conversation, c.seq),
        C::Receipts(c) => place(&c.conversation, c.seq),
        C::Reactions(c) => place(&c.conversation, c.seq),
        C::Recall(c) | C::Delete(c) | C::Pin(c) | C::Unpin(c) => place(&c.conversation, c.seq),
        C::React(c) if c.reaction.is_empty() => one("reaction", &c.reaction),
        C::React(c) => place(&c.conversation, c.seq),
        C::GroupCreate(c) => one("group", &c.group),
        C::GroupAdd(c) | C::GroupRemove(c) => [
            ("group", c.group.is_empty()),
            ("members", c.members.is_empty()),
        ],
        C::GroupLeave(c) => one("group", &c.group),
        C::GroupRename(c) => [("group", c.group.is_empty()), ("name", c.name.is_empty())],
        C::GroupInfo(c) => one("group", &c.group),
        C::GroupRole(c) => [("group", c.group.is_empty()), ("user", c.user.is_empty())],
        C::GroupSet(c) => one("group", &c.group),
        C::GroupJoin(c) => one("group", &c.group),
        C::Block(c) | C::Unblock(c) => one("user", &c.user),
        C::Settings(c) => one("conversation", &c.conversation),
        C::Search(c) => one("text", &c.text),
        C::Typing(c) => one("conversation", &c.conversation),
        C::Signal(c) => one("user", &c.user),
        C::Subscribe(c) => one("topic", &c.topic),
        C::Unsubscribe(c) => one("topic", &c.topic),
        C::Publish(c) => one("topic", &c.topic),
        C::Rpc(c) => one("method", &c.method),
        C::Edit(c) if c.conversation.is_empty() || c.seq == 0 => place(&c.conversation, c.seq),
        C::Edit(c) => match &c.media {
            Some(media) => one("media.type", &media.mime),
            None => return None,
        },
        C::Send(m::Send {
            media: Some(media), ..
        }) => one("media.type", &media.mime),
        C::Send(_)
        | C::Connect(_)
        | C::Conversations(_)
        | C::Contacts(_)
        | C::Presence(_)
        | C::Blocked(_)
        | C::Ping(_) => return None,
    };
    let missing = required.iter().find(|(_, missing)| *missing);
    missing.map(|(field, _)| format!("{}.{field}", body.name()))
}
