//! The commands of a thread's users, built in buffers that are used again.

use trunkline_proto::message::{Ack, CommandBody, Connect, History, Send};

use super::read_back::PAGE;
use crate::check::{Checker, GroupDeparture, Marks, Reading};
use crate::schedule::text::Origin;

/// The command id of `connect`: beyond the ids of sends.
pub(super) const CONNECT_ID: u32 = 0x00ff_ffff;

/// Who opens a session, and from where it goes on.
#[derive(Debug)]
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) device: &'a str,
    pub(super) token: Option<String>,
    /// The position of the last push that the device saw.
    pub(super) since: Option<&'a str>,
}

impl Login<'_> {
    /// The command that asks for the session.
    pub(super) fn command(&self) -> CommandBody<'_> {
        CommandBody::Connect(Connect {
            token: self.token.as_deref().map(Into::into),
            user: Some(self.user.into()),
            device: Some(self.device.into()),
            since: self.since.map(Into::into),
            ..Connect::default()
        })
    }
}

/// Builds commands. Each method hands the command to `write`, which may only look at it.
#[derive(Debug, Default)]
pub(super) struct Commands {
    name: String,
    text: String,
    key: String,
}

impl Commands {
    /// A message between two users; `keyed`: with an idempotency key.
    pub(super) fn send(
        &mut self,
        checker: &Checker,
        origin: Origin,
        keyed: bool,
        write: impl FnOnce(CommandBody<'_>),
    ) {
        let (part, texts) = (&checker.part, &checker.texts);
        let (user, slot) = part.stream_parts(origin.stream);
        self.name.clear();
        part.write_user(part.contact(user, slot), &mut self.name);
        texts.write(part, origin, &mut self.text);
        if keyed {
            texts.write_key(part, origin.stream, origin.counter, &mut self.key);
        }
        write(CommandBody::Send(Send {
            user: Some((&*self.name).into()),
            key: keyed.then_some((&*self.key).into()),
            text: Some((&*self.text).into()),
            ..Send::default()
        }));
    }

    /// A message in a group; `keyed`: with an idempotency key.
    pub(super) fn send_in_group(
        &mut self,
        checker: &Checker,
        departure: &GroupDeparture,
        keyed: bool,
        write: impl FnOnce(CommandBody<'_>),
    ) {
        let (members, origin) = (checker.members(), departure.origin);
        self.name.clear();
        members.write_name(origin.group, &mut self.name);
        let texts = &checker.texts;
        texts.write_in_group(&checker.part, members, origin, &mut self.text);
        if keyed {
            texts.write_group_key(members, origin.group, origin.counter, &mut self.key);
        }
        write(CommandBody::Send(Send {
            group: Some((&*self.name).into()),
            key: keyed.then_some((&*self.key).into()),
            text: Some((&*self.text).into()),
            ..Send::default()
        }));
    }

    /// An acknowledgement in the conversation of a recipient's stream.
    pub(super) fn ack(
        &mut self,
        checker: &Checker,
        stream: u32,
        marks: Marks,
        read: bool,
        write: impl FnOnce(CommandBody<'_>),
    ) {
        let part = &checker.part;
        let (user, slot) = part.stream_parts(stream);
        self.name.clear();
        part.write_conversation(user, part.contact(user, slot), &mut self.name);
        self.write_ack(marks, read, write);
    }

    /// An acknowledgement in a group.
    pub(super) fn ack_in_group(
        &mut self,
        checker: &Checker,
        group: u32,
        marks: Marks,
        read: bool,
        write: impl FnOnce(CommandBody<'_>),
    ) {
        self.name.clear();
        self.name.push_str("g:");
        checker.members().write_name(group, &mut self.name);
        self.write_ack(marks, read, write);
    }

    fn write_ack(&self, marks: Marks, read: bool, write: impl FnOnce(CommandBody<'_>)) {
        write(CommandBody::Ack(Ack {
            conversation: (&*self.name).into(),
            delivered: Some(u64::from(marks.delivered)),
            read: read.then_some(u64::from(marks.read)),
        }));
    }

    /// The question for the next page of a conversation that is read back.
    pub(super) fn history(
        &mut self,
        checker: &Checker,
        reading: &Reading,
        write: impl FnOnce(CommandBody<'_>),
    ) {
        self.name.clear();
        checker.write_conversation(reading.conversation, &mut self.name);
        write(CommandBody::History(History {
            conversation: (&*self.name).into(),
            before: None,
            after: Some(reading.after),
            limit: Some(PAGE),
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::membership::tests::none;
    use crate::population::tests::population;
    use crate::scenario::Payload;
    use crate::schedule::text::Texts;
    use crate::units::Bytes;

    fn checker() -> Checker {
        let part = population(100, 1_000, 8).part(0, 1);
        let payload = Payload::Const { bytes: Bytes(80) };
        let texts = Texts::new(part.run(), 1, &payload);
        let members = Arc::new(none(&part));
        Checker::new(part, members, texts)
    }

    #[test]
    fn a_send_names_its_recipient_and_proves_its_text() {
        let (checker, mut commands) = (checker(), Commands::default());
        let stream = checker.part.stream(5, 2);
        let origin = Origin::new(stream, 9, 1_000_000);
        for keyed in [true, false] {
            let mut written = None;
            commands.send(&checker, origin, keyed, |body| {
                let CommandBody::Send(send) = body else {
                    panic!("not a send")
                };
                assert_eq!(send.key.is_some(), keyed);
                let text = send.text.as_deref().unwrap_or_default();
                assert_eq!(checker.texts.origin(&checker.part, text), Some(origin));
                written = send.user.map(|user| user.to_string());
            });
            let recipient = checker.part.parse_user(&written.unwrap());
            assert_eq!(recipient, Some(checker.part.contact(5, 2)));
        }
    }

    #[test]
    fn an_acknowledgement_says_read_only_where_it_was() {
        let (checker, mut commands) = (checker(), Commands::default());
        let marks = Marks {
            delivered: 7,
            read: 4,
        };
        for (read, expected) in [(true, Some(4)), (false, None)] {
            commands.ack(&checker, 3, marks, read, |body| {
                let CommandBody::Ack(ack) = body else {
                    panic!("not an acknowledgement")
                };
                assert_eq!((ack.delivered, ack.read), (Some(7), expected));
            });
        }
    }
}
