//! The fields of commands.

use super::super::wire;
use super::super::write::{Fields, Sink};
use crate::message as m;

impl Fields for m::Command<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.id);
        match &self.body {
            m::CommandBody::Connect(body) => to.message(2, body),
            m::CommandBody::Send(body) => to.message(3, body),
            m::CommandBody::Ack(body) => to.message(4, body),
            m::CommandBody::Sync(body) => to.message(5, body),
            m::CommandBody::History(body) => to.message(6, body),
            m::CommandBody::Get(body) => to.message(7, body),
            m::CommandBody::Ping(body) => to.message(8, body),
            m::CommandBody::Receipts(body) => to.message(9, body),
            m::CommandBody::Conversations(body) => to.message(10, body),
            m::CommandBody::GroupCreate(body) => to.message(11, body),
            m::CommandBody::GroupAdd(body) => to.message(12, body),
            m::CommandBody::GroupRemove(body) => to.message(13, body),
            m::CommandBody::GroupLeave(body) => to.message(14, body),
            m::CommandBody::GroupRename(body) => to.message(15, body),
            m::CommandBody::GroupInfo(body) => to.message(16, body),
            m::CommandBody::Recall(body) => to.message(17, body),
            m::CommandBody::Delete(body) => to.message(18, body),
            m::CommandBody::React(body) => to.message(19, body),
            m::CommandBody::Contacts(body) => to.message(20, body),
            m::CommandBody::Presence(body) => to.message(21, body),
            m::CommandBody::Typing(body) => to.message(22, body),
            m::CommandBody::Signal(body) => to.message(23, body),
            m::CommandBody::Subscribe(body) => to.message(24, body),
            m::CommandBody::Unsubscribe(body) => to.message(25, body),
            m::CommandBody::Publish(body) => to.message(26, body),
            m::CommandBody::Reactions(body) => to.message(27, body),
            m::CommandBody::Rpc(body) => to.message(28, body),
            m::CommandBody::Edit(body) => to.message(29, &**body),
            m::CommandBody::GroupRole(body) => to.message(40, body),
            m::CommandBody::GroupSet(body) => to.message(41, body),
            m::CommandBody::GroupJoin(body) => to.message(42, body),
            m::CommandBody::Pin(body) => to.message(43, body),
            m::CommandBody::Unpin(body) => to.message(44, body),
            m::CommandBody::Block(body) => to.message(45, body),
            m::CommandBody::Unblock(body) => to.message(46, body),
            m::CommandBody::Blocked(body) => to.message(47, body),
            m::CommandBody::Settings(body) => to.message(48, body),
            m::CommandBody::Search(body) => to.message(49, body),
        }
    }
}

impl Fields for m::Connect<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.optional_text(1, self.token.as_ref());
        to.optional_text(2, self.user.as_ref());
        to.optional_text(3, self.namespace.as_ref());
        to.optional_text(4, self.device.as_ref());
        to.optional_text(5, self.since.as_ref());
        to.flag(6, self.resume);
        to.flag(7, self.batch);
    }
}

impl Fields for m::Send<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.optional_text(1, self.user.as_ref());
        to.optional_text(2, self.group.as_ref());
        to.optional_text(3, self.key.as_ref());
        to.optional_text(4, self.text.as_ref());
        if let Some(media) = &self.media {
            to.message(5, media);
        }
        if let Some(extras) = &self.extras {
            to.optional_number(6, extras.reply_to);
            to.optional_text(7, extras.kind.as_ref());
            put_json(to, 8, extras.meta.as_ref());
            to.texts(9, &extras.mentions);
            to.optional_text(10, extras.ttl.as_ref());
        }
    }
}

/// Puts the text of a value; only an absent one is left out.
pub(super) fn put_json(to: &mut impl Sink, tag: u32, value: Option<&m::Json<'_>>) {
    if let Some(value) = value {
        to.bytes(tag, value.as_str().as_bytes());
    }
}

impl Fields for m::Edit<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.optional_text(3, self.text.as_ref());
        if let Some(media) = &self.media {
            to.message(4, media);
        }
        put_json(to, 5, self.meta.as_ref());
    }
}

impl Fields for m::Media<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.mime);
        if let Some(data) = &self.data {
            to.bytes(2, data);
        }
        to.optional_text(3, self.url.as_ref());
        to.optional_number(4, self.size);
    }
}

impl Fields for m::Ack<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.optional_number(2, self.delivered);
        to.optional_number(3, self.read);
    }
}

impl Fields for m::Sync<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.since);
        to.optional_number(2, self.limit);
    }
}

impl Fields for m::History<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.optional_number(2, self.before);
        to.optional_number(3, self.after);
        to.optional_number(4, self.limit);
        to.optional_number(5, self.thread);
    }
}

impl Fields for m::Get<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
    }
}

/// `Ping` and `PingReply`.
impl Fields for m::Ping {
    fn put(&self, _: &mut impl Sink) {}
}

impl Fields for m::Receipts<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.number(3, wire::ReceiptState::from(self.state) as u32);
        to.optional_text(4, self.after.as_ref());
        to.optional_number(5, self.limit);
    }
}

impl Fields for m::Conversations<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.optional_text(1, self.after.as_ref());
        to.optional_number(2, self.limit);
    }
}

impl Fields for m::Search<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.text);
        to.optional_text(2, self.conversation.as_ref());
        to.optional_text(3, self.after.as_ref());
        to.optional_number(4, self.limit);
    }
}

impl Fields for m::GroupCreate<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
        to.optional_text(2, self.name.as_ref());
        to.texts(3, &self.members);
        to.number(4, wire::Visibility::from(self.history) as u32);
        to.optional_text(5, self.key.as_ref());
    }
}

impl Fields for m::GroupMembers<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
        to.texts(2, &self.members);
    }
}

impl Fields for m::GroupLeave<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
    }
}

impl Fields for m::GroupRename<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
        to.text(2, &self.name);
    }
}

impl Fields for m::GroupInfo<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
        to.optional_text(2, self.after.as_ref());
        to.optional_number(3, self.limit);
    }
}

impl Fields for m::MessageRef<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
    }
}

impl Fields for m::React<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.text(3, &self.reaction);
        to.flag(4, self.remove);
    }
}

impl Fields for m::Contacts<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.texts(1, &self.add);
        to.texts(2, &self.remove);
        to.flag(3, self.watch);
        to.optional_text(4, self.after.as_ref());
        to.optional_number(5, self.limit);
    }
}

impl Fields for m::Reactions<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.seq);
        to.optional_text(3, self.reaction.as_ref());
        to.optional_text(4, self.after.as_ref());
        to.optional_number(5, self.limit);
    }
}

impl Fields for m::Presence<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.texts(1, &self.watch);
        to.texts(2, &self.unwatch);
        to.texts(3, &self.query);
    }
}

impl Fields for m::Typing<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.flag(2, self.stop);
    }
}

impl Fields for m::Signal<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.user);
        to.bytes(2, self.data.as_str().as_bytes());
    }
}

impl Fields for m::Subscribe<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.topic);
        to.optional_text(2, self.since.as_ref());
    }
}

impl Fields for m::Unsubscribe<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.topic);
    }
}

impl Fields for m::Publish<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.topic);
        to.bytes(2, self.data.as_str().as_bytes());
    }
}

impl Fields for m::Rpc<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.method);
        to.bytes(2, self.data.as_str().as_bytes());
    }
}
