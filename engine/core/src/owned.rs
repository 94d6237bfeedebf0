//! Copies of replies that borrow nothing, for callers in this process.
//!
//! A reply borrows from the page or batch that it was made from. A copy outlives both.

use trunkline_proto::Str;
use trunkline_proto::message::{
    BlockedReply, ConnectReply, Contact, ContactsReply, ConversationEntry, ConversationSettings,
    ConversationsReply, Deleted, ErrorReply, Event, GetReply, GroupChanged, GroupCreateReply,
    GroupInfoReply, GroupMember, HistoryReply, Media, Message, MessageReaction, PresenceReply,
    PublishReply, Push, Reacted, ReactionsReply, Recalled, Receipt, ReceiptUser, ReceiptsReply,
    ReplyBody, RpcReply, SearchReply, SendReply, SubscribeReply, SyncReply, UserPresence,
};

type Text = Str<'static>;

fn texts(texts: Vec<Str<'_>>) -> Vec<Text> {
    texts.into_iter().map(Str::into_owned).collect()
}

/// Returns a copy of a reply.
pub(crate) fn reply(body: ReplyBody<'_>) -> ReplyBody<'static> {
    match body {
        ReplyBody::Error(error) => ReplyBody::Error(self::error(error)),
        ReplyBody::Send(send) => ReplyBody::Send(SendReply {
            conversation: send.conversation.into_owned(),
            pos: send.pos.into_owned(),
            seq: send.seq,
            time: send.time,
            duplicate: send.duplicate,
        }),
        ReplyBody::Sync(page) => ReplyBody::Sync(SyncReply {
            events: page.events.into_iter().filter_map(push).collect(),
            pos: page.pos.into_owned(),
            more: page.more,
        }),
        ReplyBody::History(page) => ReplyBody::History(HistoryReply {
            messages: page.messages.into_iter().map(message).collect(),
            first: page.first,
            last: page.last,
            more: page.more,
        }),
        ReplyBody::Get(get) => ReplyBody::Get(GetReply {
            message: message(get.message),
        }),
        ReplyBody::GroupCreate(group) => ReplyBody::GroupCreate(GroupCreateReply {
            conversation: group.conversation.into_owned(),
            members: group.members,
            duplicate: group.duplicate,
        }),
        ReplyBody::Ack(done) => ReplyBody::Ack(done),
        ReplyBody::GroupAdd(done) => ReplyBody::GroupAdd(done),
        ReplyBody::GroupRemove(done) => ReplyBody::GroupRemove(done),
        ReplyBody::GroupLeave(done) => ReplyBody::GroupLeave(done),
        ReplyBody::GroupRename(done) => ReplyBody::GroupRename(done),
        ReplyBody::Recall(done) => ReplyBody::Recall(done),
        ReplyBody::Delete(done) => ReplyBody::Delete(done),
        ReplyBody::React(done) => ReplyBody::React(done),
        ReplyBody::Edit(done) => ReplyBody::Edit(done),
        ReplyBody::Typing(done) => ReplyBody::Typing(done),
        ReplyBody::GroupRole(done) => ReplyBody::GroupRole(done),
        ReplyBody::GroupSet(done) => ReplyBody::GroupSet(done),
        ReplyBody::GroupJoin(done) => ReplyBody::GroupJoin(done),
        ReplyBody::Pin(done) => ReplyBody::Pin(done),
        ReplyBody::Unpin(done) => ReplyBody::Unpin(done),
        ReplyBody::Block(done) => ReplyBody::Block(done),
        ReplyBody::Unblock(done) => ReplyBody::Unblock(done),
        ReplyBody::Settings(done) => ReplyBody::Settings(done),
        ReplyBody::Signal(signal) => ReplyBody::Signal(signal),
        ReplyBody::Ping(ping) => ReplyBody::Ping(ping),
        other => list(other),
    }
}

/// Returns a copy of a reply that is a list, or that needs a session.
fn list(body: ReplyBody<'_>) -> ReplyBody<'static> {
    match body {
        ReplyBody::Receipts(page) => ReplyBody::Receipts(ReceiptsReply {
            counts: page.counts,
            users: page.users.into_iter().map(receipt_user).collect(),
            more: page.more,
        }),
        ReplyBody::Conversations(page) => ReplyBody::Conversations(ConversationsReply {
            conversations: page.conversations.into_iter().map(entry).collect(),
            unread: page.unread,
            cursor: page.cursor.into_owned(),
            more: page.more,
        }),
        ReplyBody::Search(page) => ReplyBody::Search(found(page)),
        ReplyBody::GroupInfo(info) => ReplyBody::GroupInfo(GroupInfoReply {
            group: info.group.into_owned(),
            name: info.name.map(Str::into_owned),
            picture: info.picture.map(Str::into_owned),
            history: info.history,
            send: info.send,
            join: info.join,
            pins: info.pins,
            count: info.count,
            members: info.members.into_iter().map(member).collect(),
            more: info.more,
        }),
        ReplyBody::Blocked(page) => ReplyBody::Blocked(BlockedReply {
            users: texts(page.users),
            more: page.more,
        }),
        ReplyBody::Contacts(page) => ReplyBody::Contacts(ContactsReply {
            contacts: page.contacts.into_iter().map(contact).collect(),
            more: page.more,
        }),
        ReplyBody::Presence(page) => ReplyBody::Presence(PresenceReply {
            users: page.users.into_iter().map(presence).collect(),
            more: page.more,
        }),
        ReplyBody::Reactions(page) => ReplyBody::Reactions(ReactionsReply {
            reactions: page.reactions.into_iter().map(reaction).collect(),
            more: page.more,
        }),
        ReplyBody::Subscribe(topic) => ReplyBody::Subscribe(subscribed(topic)),
        ReplyBody::Unsubscribe(topic) => ReplyBody::Unsubscribe(subscribed(topic)),
        ReplyBody::Publish(topic) => ReplyBody::Publish(PublishReply {
            pos: topic.pos.into_owned(),
        }),
        ReplyBody::Rpc(rpc) => ReplyBody::Rpc(RpcReply {
            data: rpc.data.into_owned(),
        }),
        ReplyBody::Connect(connect) => ReplyBody::Connect(ConnectReply {
            session: connect.session.into_owned(),
            user: connect.user.into_owned(),
            device: connect.device.into_owned(),
            pos: connect.pos.into_owned(),
            unsubscribed: texts(connect.unsubscribed),
            recovered: connect.recovered,
            time: connect.time,
            ping_ms: connect.ping_ms,
            limits: connect.limits,
            expires: connect.expires,
        }),
        // `reply` copies these itself.
        other @ (ReplyBody::Error(_)
        | ReplyBody::Send(_)
        | ReplyBody::Sync(_)
        | ReplyBody::History(_)
        | ReplyBody::Get(_)
        | ReplyBody::GroupCreate(_)
        | ReplyBody::Ack(_)
        | ReplyBody::GroupAdd(_)
        | ReplyBody::GroupRemove(_)
        | ReplyBody::GroupLeave(_)
        | ReplyBody::GroupRename(_)
        | ReplyBody::Recall(_)
        | ReplyBody::Delete(_)
        | ReplyBody::React(_)
        | ReplyBody::Edit(_)
        | ReplyBody::Typing(_)
        | ReplyBody::GroupRole(_)
        | ReplyBody::GroupSet(_)
        | ReplyBody::GroupJoin(_)
        | ReplyBody::Pin(_)
        | ReplyBody::Unpin(_)
        | ReplyBody::Block(_)
        | ReplyBody::Unblock(_)
        | ReplyBody::Settings(_)
        | ReplyBody::Signal(_)
        | ReplyBody::Ping(_)) => reply(other),
    }
}

/// Returns a copy of an error.
pub(crate) fn error(error: ErrorReply<'_>) -> ErrorReply<'static> {
    ErrorReply {
        code: error.code,
        name: error.name.into_owned(),
        message: error.message.into_owned(),
        temporary: error.temporary,
        limit: error.limit.map(Str::into_owned),
        retry_ms: error.retry_ms,
    }
}

/// Returns a copy of a message.
pub(crate) fn message(message: Message<'_>) -> Message<'static> {
    let own = |text: Option<Str<'_>>| text.map(Str::into_owned);
    Message {
        conversation: message.conversation.into_owned(),
        from: message.from.into_owned(),
        device: message.device.into_owned(),
        key: own(message.key),
        text: own(message.text),
        media: message.media.map(Media::into_owned),
        extras: message.extras.map(|extras| Box::new(extras.into_owned())),
        reactions: message.reactions.into_iter().map(reaction).collect(),
        seq: message.seq,
        time: message.time,
        recalled: message.recalled,
        deleted: message.deleted,
        more_reactions: message.more_reactions,
        too_large: message.too_large,
    }
}

fn reaction(one: MessageReaction<'_>) -> MessageReaction<'static> {
    MessageReaction {
        reaction: one.reaction.into_owned(),
        users: texts(one.users),
        count: one.count,
        more: one.more,
    }
}

/// Returns a copy of a stored event; `None` for an ephemeral event, which no page holds.
fn push(push: Push<'_>) -> Option<Push<'static>> {
    let event = match push.event {
        Event::Message(one) => Event::Message(message(one)),
        Event::Edit(one) => Event::Edit(message(one)),
        Event::Receipt(one) => Event::Receipt(Receipt {
            conversation: one.conversation.into_owned(),
            user: one.user.into_owned(),
            delivered: one.delivered,
            read: one.read,
            time: one.time,
        }),
        Event::Recall(one) => Event::Recall(Recalled {
            conversation: one.conversation.into_owned(),
            by: one.by.into_owned(),
            seq: one.seq,
            time: one.time,
        }),
        Event::Delete(one) => Event::Delete(Deleted {
            conversation: one.conversation.into_owned(),
            seq: one.seq,
            time: one.time,
        }),
        Event::Reaction(one) => Event::Reaction(Reacted {
            conversation: one.conversation.into_owned(),
            user: one.user.into_owned(),
            reaction: one.reaction.into_owned(),
            seq: one.seq,
            removed: one.removed,
            time: one.time,
        }),
        Event::Group(one) => Event::Group(GroupChanged {
            conversation: one.conversation.into_owned(),
            by: one.by.into_owned(),
            members: texts(one.members),
            name: one.name.map(Str::into_owned),
            picture: one.picture.map(Str::into_owned),
            role: one.role,
            send: one.send,
            join: one.join,
            seq: one.seq,
            change: one.change,
            time: one.time,
        }),
        Event::Settings(one) => Event::Settings(ConversationSettings {
            conversation: one.conversation.into_owned(),
            muted_until: one.muted_until,
            pinned: one.pinned,
            archived: one.archived,
            time: one.time,
        }),
        Event::Presence(_)
        | Event::Typing(_)
        | Event::Signal(_)
        | Event::Publication(_)
        | Event::Gap(_)
        | Event::CaughtUp(_)
        | Event::Disconnect(_) => return None,
    };
    Some(Push {
        pos: push.pos.map(Str::into_owned),
        event,
    })
}

fn found(page: SearchReply<'_>) -> SearchReply<'static> {
    SearchReply {
        messages: page.messages.into_iter().map(message).collect(),
        next: page.next.map(Str::into_owned),
    }
}

fn receipt_user(one: ReceiptUser<'_>) -> ReceiptUser<'static> {
    ReceiptUser {
        user: one.user.into_owned(),
        seq: one.seq,
        time: one.time,
    }
}

fn entry(one: ConversationEntry<'_>) -> ConversationEntry<'static> {
    ConversationEntry {
        conversation: one.conversation.into_owned(),
        last: one.last.map(message),
        read: one.read,
        unread: one.unread,
        members: one.members,
        mentions: one.mentions,
        muted_until: one.muted_until,
        pinned: one.pinned,
        archived: one.archived,
    }
}

fn member(one: GroupMember<'_>) -> GroupMember<'static> {
    GroupMember {
        user: one.user.into_owned(),
        role: one.role,
        since: one.since,
    }
}

fn contact(one: Contact<'_>) -> Contact<'static> {
    Contact {
        user: one.user.into_owned(),
        online: one.online,
        last_seen: one.last_seen,
    }
}

fn presence(one: UserPresence<'_>) -> UserPresence<'static> {
    UserPresence {
        user: one.user.into_owned(),
        online: one.online,
        devices: one.devices,
        last_seen: one.last_seen,
    }
}

fn subscribed(one: SubscribeReply<'_>) -> SubscribeReply<'static> {
    SubscribeReply {
        pos: one.pos.into_owned(),
        recovered: one.recovered,
    }
}
