//! The commands of a thread's users, built in buffers that are used again.

use trunkline_proto::message::{Ack, CommandBody, Connect, History, Send};

use super::read_back::PAGE;
use crate::check::{Checker, Judge, Marks, Origin, Reading};

/// The command id of `connect`: beyond the ids of sends.
pub(super) const CONNECT_ID: u32 = 0x00ff_ffff;

/// The user and device of a session to open, and the position from which it continues.
#[derive(Debug)]
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) device: &'a str,
    pub(super) token: Option<String>,
    /// The position of the last push that the device saw.
    pub(super) since: Option<&'a str>,
}

impl Login<'_> {
    /// Returns the command that asks for the session.
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
    /// A message to a contact or a group; `keyed`: with an idempotency key.
    pub(super) fn send(
        &mut self,
        checker: &Checker,
        origin: Origin,
        keyed: bool,
        write: impl FnOnce(CommandBody<'_>),
    ) {
        let roster = checker.roster();
        self.name.clear();
        roster.write_recipient(origin.conversation, origin.stream, &mut self.name);
        checker.write_text(origin, &mut self.text);
        if keyed {
            checker.write_key(origin, &mut self.key);
        }
        let to_pair = roster.is_pair(origin.conversation);
        write(CommandBody::Send(Send {
            user: to_pair.then_some((&*self.name).into()),
            group: (!to_pair).then_some((&*self.name).into()),
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
        let Some(reader) = checker.roster().writer(stream) else {
            return;
        };
        self.name.clear();
        { checker.roster() }.write_conversation(reader.conversation, &mut self.name);
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
        { checker.roster() }.write_conversation(reading.conversation, &mut self.name);
        write(CommandBody::History(History {
            conversation: (&*self.name).into(),
            before: None,
            after: Some(reading.after),
            limit: Some(PAGE),
            thread: None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::membership::Memberships;
    use crate::membership::tests::wanted;
    use crate::population::Part;
    use crate::population::tests::population;
    use crate::scenario::Payload;
    use crate::schedule::text::Texts;
    use crate::units::Bytes;

    fn texts(part: &Part) -> Texts {
        Texts::new(part.run(), 1, &Payload::Const { bytes: Bytes(80) })
    }

    fn checker() -> Checker {
        let part = population(100, 1_000, 8).part(0, 1);
        let members = Memberships::new(&part, &wanted(1.0, "const(10)", &[]), 1);
        let texts = texts(&part);
        Checker::new(part, Arc::new(members), texts)
    }

    #[test]
    fn a_send_names_its_recipient_and_proves_its_text() {
        let (checker, mut commands) = (checker(), Commands::default());
        let roster = checker.roster();
        let (part, members) = (roster.part(), roster.members());
        let of_pair = part.stream(5, 2);
        let in_group = roster.stream(roster.conversation_of(3), 4);
        for (stream, keyed) in [(of_pair, true), (of_pair, false), (in_group, true)] {
            let origin = Origin {
                conversation: roster.writer(stream).unwrap().conversation,
                stream,
                counter: 9,
                intended_us: 1_000,
            };
            commands.send(&checker, origin, keyed, |body| {
                let CommandBody::Send(send) = body else {
                    panic!("not a send")
                };
                assert_eq!(send.key.is_some(), keyed);
                let (texts, text) = (texts(part), send.text.unwrap());
                if stream == of_pair {
                    let named = texts.origin(part, &text).unwrap();
                    assert_eq!((named.stream, named.counter), (stream, 9));
                    let recipient = part.parse_user(&send.user.unwrap());
                    assert_eq!((recipient, send.group), (Some(part.contact(5, 2)), None));
                } else {
                    let named = texts.origin_in_group(part, members, &text).unwrap();
                    assert_eq!((named.group, named.counter), (3, 9));
                    assert_eq!(named.user, roster.user(stream));
                    let mut group = String::new();
                    members.write_name(3, &mut group);
                    assert_eq!((send.group.as_deref(), send.user), (Some(&*group), None));
                }
            });
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
