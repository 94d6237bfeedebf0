//! Groups of the fake gateway, and how it lies about them.

use trunkline_proto::message::{
    Done, Event, GroupCreate, GroupCreateReply, GroupLeave, GroupMembers, GroupMembersReply,
    ReplyBody, Send,
};
use trunkline_proto::{CloseCode, ErrorCode, Str, message::ErrorReply};

use crate::fake_conduct::{Conduct, Lie};
use crate::fake_log::Logged;
use crate::fake_session::{Session, Stored};
use crate::fake_world::World;

/// The most members of a group in which all members get receipts.
const TOLD: usize = 16;

/// The most users that a command may name.
const NAMED: usize = 1_000;

impl World {
    /// Returns the names of the members of a group.
    fn members(&mut self, group: &str) -> &mut Vec<String> {
        self.groups.entry(group.to_owned()).or_default()
    }

    /// Adds the named users who are not members yet. Returns the number of members.
    fn add(&mut self, group: &str, named: &[Str<'_>]) -> u64 {
        let members = self.members(group);
        for user in named {
            if !members.iter().any(|member| **member == **user) {
                members.push(user.to_string());
            }
        }
        members.len() as u64
    }

    pub(crate) fn group_create(&mut self, session: &Session, id: u32, create: &GroupCreate<'_>) {
        if self.conduct == Conduct::RefuseGroups {
            let error = ErrorReply::new(ErrorCode::LimitExceeded, "the fake has enough groups");
            return session.reply(id, ReplyBody::Error(error));
        }
        assert!(create.members.len() <= NAMED && !self.groups.contains_key(&*create.group));
        assert!(self.sends == 0, "groups come before messages");
        let owner = [(&*session.user).into()];
        self.add(&create.group, &owner);
        let members = self.add(&create.group, &create.members);
        let reply = GroupCreateReply {
            conversation: format!("g:{}", create.group).into(),
            members,
            duplicate: false,
        };
        session.reply(id, ReplyBody::GroupCreate(reply));
    }

    pub(crate) fn group_add(&mut self, session: &Session, id: u32, named: &GroupMembers<'_>) {
        assert!(named.members.len() <= NAMED && self.groups.contains_key(&*named.group));
        let members = self.add(&named.group, &named.members);
        // One is forgotten, where the answer is to be wrong.
        let members = members - u64::from(self.conduct == Conduct::MiscountMembers);
        session.reply(id, ReplyBody::GroupAdd(GroupMembersReply { members }));
    }

    pub(crate) fn group_leave(&mut self, session: &Session, id: u32, leave: &GroupLeave<'_>) {
        let user = session.user.clone();
        self.members(&leave.group).retain(|member| *member != user);
        session.reply(id, ReplyBody::GroupLeave(Done {}));
    }

    /// Returns the users who get the receipts of `reader` in a group.
    pub(crate) fn told_in_group(&mut self, group: &str, reader: &str) -> Vec<String> {
        let members = self.members(group);
        match members.len() {
            ..=TOLD => members.clone(),
            _ => vec![reader.to_owned()],
        }
    }

    pub(crate) fn send_in_group(
        &mut self,
        session: &Session,
        (id, group): (u32, &str),
        send: &Send<'_>,
    ) {
        self.sends += 1;
        assert!(self.members(group).contains(&session.user), "{group}");
        let known = send.key.as_deref().and_then(|key| self.keys.get(key));
        if let Some(Some(stored)) = known.cloned() {
            return self.answer_known(session, id, &stored);
        }
        let hangs_up = self.hangs_up(send);
        if hangs_up == Some(false) {
            // The message is not stored.
            return session.hang_up(CloseCode::SERVER_ERROR);
        }
        let conversation = format!("g:{group}");
        let (seq, stored) = self.store(session, conversation, send);
        if self.tells(Lie::ForgetInHistory) || self.tells(Lie::ChangeInHistory) {
            self.marked = Some((stored.conversation.clone(), seq));
        }
        if hangs_up == Some(true) {
            self.deliver_in_group(session, group, &stored);
            return session.hang_up(CloseCode::SERVER_ERROR);
        }
        if self.sends.is_multiple_of(2) {
            self.answer(session, id, &stored);
            self.deliver_in_group(session, group, &stored);
        } else {
            self.deliver_in_group(session, group, &stored);
            self.answer(session, id, &stored);
        }
    }

    /// Pushes a message to all devices of all members except the sending device. Each lie is told
    /// to one device.
    fn deliver_in_group(&mut self, session: &Session, group: &str, stored: &Stored) {
        let members = self.members(group).clone();
        for member in &members {
            self.log.add(member, Logged::Message(stored.clone()));
        }
        let is_member = |s: &Session| members.contains(&s.user);
        let own = |s: &Session| s.user == session.user && s.device == session.device;
        let places = 0..self.sessions.len();
        let due = |place: &usize| is_member(&self.sessions[*place]) && !own(&self.sessions[*place]);
        let mut due: Vec<_> = places.clone().filter(due).collect();
        let Some(&one) = due.last() else {
            return;
        };
        let outsider = { places }.rfind(|place| !is_member(&self.sessions[*place]));
        let mut shown = stored.clone();
        if self.tells(Lie::ChangeText) {
            // The header of the text stays. Only the bytes after it change.
            shown.text.pop();
            shown.text.push('#');
        }
        if self.tells(Lie::WrongSender) {
            let mut others = members.iter().filter(|member| **member != session.user);
            shown
                .from
                .clone_from(others.next().expect("somebody else is a member"));
        }
        if self.tells(Lie::WrongConversation) {
            shown.conversation = "g:another".into();
        }
        if self.tells(Lie::Invent) {
            shown.text = "a message that nobody sent".into();
            shown.seq += 1000;
            due.push(one);
        }
        if self.tells(Lie::DropPush) {
            due.retain(|place| *place != one);
        }
        if self.tells(Lie::RepeatPush) {
            due.push(one);
        }
        if self.tells(Lie::ThirdUser) {
            due.extend(outsider);
        }
        let later = |held: &mut (Stored, usize)| {
            held.0.conversation == stored.conversation && due.contains(&held.1)
        };
        let held = self.held_in_group.take_if(later);
        if held.is_none() && self.tells(Lie::SwapPushes) {
            due.retain(|place| *place != one);
            self.held_in_group = Some((stored.clone(), one));
        }
        for (nth, place) in due.iter().enumerate() {
            let changed = nth + 1 == due.len();
            let message = if changed { &shown } else { stored };
            let session = &self.sessions[*place];
            let pos = self.log.end(&session.user);
            session.push(Event::Message(message.message()), &pos);
        }
        if let Some((held, place)) = held {
            let session = &self.sessions[place];
            let pos = self.log.end(&session.user);
            session.push(Event::Message(held.message()), &pos);
        }
        if self.tells(Lie::PushToSender) {
            let pos = self.log.end(&session.user);
            session.push(Event::Message(stored.message()), &pos);
        }
    }
}
