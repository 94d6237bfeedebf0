//! The fields of every message, by their numbers in `trunkline.proto`.

use super::write::{Fields, Sink};
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
        }
    }
}

impl Fields for m::ErrorReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.code);
        to.text(2, &self.name);
        to.text(3, &self.message);
        to.flag(4, self.temporary);
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
        for event in &self.events {
            to.message(1, event);
        }
        to.text(2, &self.pos);
        to.flag(3, self.more);
    }
}

impl Fields for m::HistoryReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        for message in &self.messages {
            to.message(1, message);
        }
        to.number(2, self.first);
        to.number(3, self.last);
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

impl Fields for m::Disconnect<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.code);
        to.text(2, &self.reason);
        to.flag(3, self.reconnect);
        to.number(4, self.delay_ms[0]);
        to.number(5, self.delay_ms[1]);
    }
}
