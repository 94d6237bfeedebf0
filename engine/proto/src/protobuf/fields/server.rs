//! The fields of replies and pushes.

use super::super::wire;
use super::super::write::{Fields, Sink};
use super::command::put_json;
use crate::message as m;

impl Fields for m::ServerMessage<'_> {
    fn put(&self, to: &mut impl Sink) {
        match self {
            Self::Reply(reply) => to.message(1, reply),
            Self::Push(push) => to.message(2, push),
        }
    }
}

impl Fields for m::Reply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.id);
        match &self.body {
            m::ReplyBody::Error(body) => to.message(2, body),
            m::ReplyBody::Connect(body) => to.message(3, body),
            m::ReplyBody::Send(body) => to.message(4, body),
            m::ReplyBody::Ack(body) => to.message(5, body),
            m::ReplyBody::Sync(body) => to.message(6, body),
            m::ReplyBody::History(body) => to.message(7, body),
            m::ReplyBody::Get(body) => to.message(8, body),
            m::ReplyBody::Ping(body) => to.message(9, body),
            m::ReplyBody::Receipts(body) => to.message(10, body),
            m::ReplyBody::Conversations(body) => to.message(11, body),
            m::ReplyBody::GroupCreate(body) => to.message(12, body),
            m::ReplyBody::GroupAdd(body) => to.message(13, body),
            m::ReplyBody::GroupRemove(body) => to.message(14, body),
            m::ReplyBody::GroupLeave(body) => to.message(15, body),
            m::ReplyBody::GroupRename(body) => to.message(16, body),
            m::ReplyBody::GroupInfo(body) => to.message(17, body),
            m::ReplyBody::Recall(body) => to.message(18, body),
            m::ReplyBody::Delete(body) => to.message(19, body),
            m::ReplyBody::React(body) => to.message(20, body),
            m::ReplyBody::Contacts(body) => to.message(21, body),
            m::ReplyBody::Presence(body) => to.message(22, body),
            m::ReplyBody::Typing(body) => to.message(23, body),
            m::ReplyBody::Signal(body) => to.message(24, body),
            m::ReplyBody::Subscribe(body) => to.message(25, body),
            m::ReplyBody::Unsubscribe(body) => to.message(26, body),
            m::ReplyBody::Publish(body) => to.message(27, body),
            m::ReplyBody::Reactions(body) => to.message(28, body),
            m::ReplyBody::Rpc(body) => to.message(29, body),
            m::ReplyBody::Edit(body) => to.message(30, body),
            m::ReplyBody::GroupRole(body) => to.message(40, body),
            m::ReplyBody::GroupSet(body) => to.message(41, body),
            m::ReplyBody::GroupJoin(body) => to.message(42, body),
            m::ReplyBody::Pin(body) => to.message(43, body),
            m::ReplyBody::Unpin(body) => to.message(44, body),
            m::ReplyBody::Block(body) => to.message(45, body),
            m::ReplyBody::Unblock(body) => to.message(46, body),
            m::ReplyBody::Blocked(body) => to.message(47, body),
            m::ReplyBody::Settings(body) => to.message(48, body),
            m::ReplyBody::Search(body) => to.message(49, body),
        }
    }
}

impl Fields for m::ErrorReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.code);
        to.text(2, &self.name);
        to.text(3, &self.message);
        to.flag(4, self.temporary);
        to.optional_text(5, self.limit.as_ref());
        to.optional_number(6, self.retry_ms);
    }
}

impl Fields for m::ConnectReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.session);
        to.text(2, &self.user);
        to.text(3, &self.device);
        to.text(4, &self.pos);
        to.flag(5, self.recovered);
        to.number(6, self.time);
        to.number(7, self.ping_ms);
        to.message(8, &self.limits);
        to.optional_number(9, self.expires);
        to.texts(10, &self.unsubscribed);
    }
}

impl Fields for m::ConnectLimits {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.message_bytes);
        to.number(2, self.text_bytes);
        to.number(3, self.key_bytes);
        to.number(4, self.page);
    }
}

impl Fields for m::SendReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.text(3, &self.pos);
        to.number(4, self.time);
        to.flag(5, self.duplicate);
    }
}

impl Fields for m::AckReply {
    fn put(&self, _: &mut impl Sink) {}
}

impl Fields for m::SyncReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.messages(1, &self.events);
        to.text(2, &self.pos);
        to.flag(3, self.more);
    }
}

impl Fields for m::HistoryReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.messages(1, &self.messages);
        to.number(2, self.first);
        to.number(3, self.last);
        to.flag(4, self.more);
    }
}

impl Fields for m::GetReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.message(1, &self.message);
    }
}

impl Fields for m::Push<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.optional_text(1, self.pos.as_ref());
        match &self.event {
            m::Event::Message(event) => to.message(2, event),
            m::Event::Receipt(event) => to.message(3, event),
            m::Event::Gap(event) => to.message(4, event),
            m::Event::Disconnect(event) => to.message(5, event),
            m::Event::Recall(event) => to.message(6, event),
            m::Event::Delete(event) => to.message(7, event),
            m::Event::Reaction(event) => to.message(8, event),
            m::Event::Group(event) => to.message(9, event),
            m::Event::Presence(event) => to.message(10, event),
            m::Event::Typing(event) => to.message(11, event),
            m::Event::Signal(event) => to.message(12, event),
            m::Event::Publication(event) => to.message(13, event),
            m::Event::CaughtUp(event) => to.message(14, event),
            m::Event::Edit(event) => to.message(15, event),
            m::Event::Settings(event) => to.message(20, event),
        }
    }
}

impl Fields for m::Message<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.text(3, &self.from);
        to.text(4, &self.device);
        to.number(5, self.time);
        to.optional_text(6, self.key.as_ref());
        to.optional_text(7, self.text.as_ref());
        if let Some(media) = &self.media {
            to.message(8, media);
        }
        to.flag(9, self.recalled);
        to.flag(10, self.deleted);
        to.messages(11, &self.reactions);
        to.flag(12, self.more_reactions);
        to.flag(13, self.too_large);
        if let Some(extras) = &self.extras {
            to.optional_number(14, extras.reply_to);
            to.optional_text(15, extras.kind.as_ref());
            put_json(to, 16, extras.meta.as_ref());
            to.optional_number(17, extras.edited);
            to.texts(18, &extras.mentions);
            to.optional_number(19, extras.expires);
            to.flag(20, extras.expired);
        }
    }
}

impl Fields for m::Receipt<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.text(2, &self.user);
        to.number(3, self.delivered);
        to.number(4, self.read);
        to.number(5, self.time);
    }
}

impl Fields for m::Gap<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.pos);
    }
}

impl Fields for m::CaughtUp<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.pos);
    }
}

impl Fields for m::Disconnect<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.code);
        to.text(2, &self.reason);
        to.flag(3, self.reconnect);
        to.number(4, self.delay_ms[0]);
        to.number(5, self.delay_ms[1]);
    }
}

impl Fields for m::Done {
    fn put(&self, _: &mut impl Sink) {}
}

impl Fields for m::ReceiptsReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.message(1, &self.counts);
        to.messages(2, &self.users);
        to.flag(3, self.more);
    }
}

impl Fields for m::ReceiptCounts {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.members);
        to.number(2, self.delivered);
        to.number(3, self.read);
    }
}

impl Fields for m::ReceiptUser<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.user);
        to.number(2, self.seq);
        to.number(3, self.time);
    }
}

impl Fields for m::ConversationsReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.messages(1, &self.conversations);
        to.number(2, self.unread);
        to.text(3, &self.cursor);
        to.flag(4, self.more);
    }
}

impl Fields for m::SearchReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.messages(1, &self.messages);
        to.optional_text(2, self.next.as_ref());
    }
}

impl Fields for m::ConversationEntry<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        if let Some(last) = &self.last {
            to.message(2, last);
        }
        to.number(3, self.read);
        to.number(4, self.unread);
        to.number(5, self.members);
        to.number(6, self.mentions);
        to.number(10, self.muted_until);
        to.flag(11, self.pinned);
        to.flag(12, self.archived);
    }
}

impl Fields for m::GroupCreateReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.members);
        to.flag(3, self.duplicate);
    }
}

impl Fields for m::GroupMembersReply {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.members);
    }
}

impl Fields for m::GroupInfoReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
        to.optional_text(2, self.name.as_ref());
        to.number(3, wire::Visibility::from(self.history) as u32);
        to.number(4, self.count);
        to.messages(5, &self.members);
        to.flag(6, self.more);
        to.optional_text(7, self.picture.as_ref());
        to.number(8, wire::Senders::from(self.send) as u32);
        to.number(9, wire::Joining::from(self.join) as u32);
        to.messages(10, &self.pins);
    }
}

impl Fields for m::GroupMember<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.user);
        to.number(2, wire::Role::from(self.role) as u32);
        to.number(3, self.since);
    }
}

impl Fields for m::ContactsReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.messages(1, &self.contacts);
        to.flag(2, self.more);
    }
}

impl Fields for m::Contact<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.user);
        to.flag(2, self.online);
        to.optional_number(3, self.last_seen);
    }
}

impl Fields for m::PresenceReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.messages(1, &self.users);
        to.flag(2, self.more);
    }
}

impl Fields for m::ReactionsReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.messages(1, &self.reactions);
        to.flag(2, self.more);
    }
}

impl Fields for m::SignalReply {
    fn put(&self, to: &mut impl Sink) {
        to.flag(1, self.online);
    }
}

impl Fields for m::SubscribeReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.pos);
        to.flag(2, self.recovered);
    }
}

impl Fields for m::RpcReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.bytes(1, self.data.as_str().as_bytes());
    }
}

impl Fields for m::PublishReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.pos);
    }
}

impl Fields for m::MessageReaction<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.reaction);
        to.texts(2, &self.users);
        to.number(3, self.count);
        to.flag(4, self.more);
    }
}

impl Fields for m::Recalled<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.text(3, &self.by);
        to.number(4, self.time);
    }
}

impl Fields for m::Deleted<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.number(3, self.time);
    }
}

impl Fields for m::Reacted<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.text(3, &self.user);
        to.text(4, &self.reaction);
        to.flag(5, self.removed);
        to.number(6, self.time);
    }
}

impl Fields for m::GroupChanged<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, wire::ChangeKind::from(self.change) as u32);
        to.text(3, &self.by);
        to.texts(4, &self.members);
        to.optional_text(5, self.name.as_ref());
        to.number(6, self.time);
        to.optional_number(7, self.role.map(|role| wire::Role::from(role) as u32));
        to.optional_text(8, self.picture.as_ref());
        to.optional_number(9, self.send.map(|send| wire::Senders::from(send) as u32));
        to.optional_number(10, self.join.map(|join| wire::Joining::from(join) as u32));
        to.optional_number(11, self.seq);
    }
}

impl Fields for m::UserPresence<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.user);
        to.flag(2, self.online);
        to.number(3, self.devices);
        to.optional_number(4, self.last_seen);
    }
}

impl Fields for m::TypingUser<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.text(2, &self.user);
        to.flag(3, self.stop);
        to.number(4, self.expires_ms);
    }
}

impl Fields for m::Signalled<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.user);
        to.bytes(2, self.data.as_str().as_bytes());
    }
}

impl Fields for m::Publication<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.topic);
        to.bytes(2, self.data.as_str().as_bytes());
        to.text(3, &self.from);
        to.text(4, &self.pos);
    }
}
