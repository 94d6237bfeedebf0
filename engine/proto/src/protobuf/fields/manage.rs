//! The fields of messages about the rules of groups, blocked users and settings of conversations.

use super::super::wire;
use super::super::write::{Fields, Sink};
use crate::message as m;

impl Fields for m::GroupRole<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
        to.text(2, &self.user);
        to.optional_number(3, Some(wire::Role::from(self.role) as u32));
    }
}

impl Fields for m::GroupSet<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
        to.optional_text(2, self.name.as_ref());
        to.optional_text(3, self.picture.as_ref());
        to.optional_number(4, self.send.map(|send| wire::Senders::from(send) as u32));
        to.optional_number(5, self.join.map(|join| wire::Joining::from(join) as u32));
    }
}

impl Fields for m::GroupJoin<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.group);
    }
}

impl Fields for m::UserRef<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.user);
    }
}

impl Fields for m::Blocked<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.optional_text(1, self.after.as_ref());
        to.optional_number(2, self.limit);
    }
}

impl Fields for m::Settings<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.optional_number(2, self.muted_until);
        to.optional_number(3, self.pinned);
        to.optional_number(4, self.archived);
    }
}

impl Fields for m::ConversationSettings<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.text(1, &self.conversation);
        to.number(2, self.muted_until);
        to.flag(3, self.pinned);
        to.flag(4, self.archived);
        to.number(5, self.time);
    }
}

impl Fields for m::PinnedMessage {
    fn put(&self, to: &mut impl Sink) {
        to.number(1, self.seq);
        to.number(2, self.time);
    }
}

impl Fields for m::BlockedReply<'_> {
    fn put(&self, to: &mut impl Sink) {
        to.texts(1, &self.users);
        to.flag(2, self.more);
    }
}
