//! Commands about ephemeral events.

use std::sync::Arc;

use trunkline_core::directory::ShardSet;
use trunkline_core::exchange::{Access, Finding, Listing, Query};
use trunkline_core::hub::{EphemeralEvent, PushFrames};
use trunkline_core::ids::UserId;
use trunkline_core::request::{Recipients, recipients};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{
    CommandBody, Done, Event, ReplyBody, Signal, SignalReply, Signalled, TypingUser,
};
use trunkline_proto::names::is_name;

use super::super::connection::Conn;
use super::super::core::Core;
use super::TYPINGS;
use crate::metrics::Limit;

type Failure = (ErrorCode, &'static str);

impl Core {
    /// Carries out a command of an open session about ephemeral events. Returns whether it is such a command.
    pub(crate) fn ephemeral_command(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        command: &CommandBody<'_>,
    ) -> bool {
        let done = match command {
            CommandBody::Presence(request) => self.presence(slot, conn, id, request),
            CommandBody::Typing(request) => self.typing(slot, conn, id, &request.conversation),
            CommandBody::Signal(request) => self.signal(slot, conn, id, request),
            CommandBody::Subscribe(request) => self.subscribe(slot, conn, id, request),
            CommandBody::Unsubscribe(request) => self.unsubscribe(slot, conn, id, &request.topic),
            CommandBody::Publish(request) => self.publish(slot, conn, id, request),
            _ => return false,
        };
        if let Err((code, message)) = done {
            self.fail(slot, conn, id, code, message);
        }
        true
    }

    fn typing(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        conversation: &str,
    ) -> Result<(), Failure> {
        let Some(session) = conn.session() else {
            return Ok(());
        };
        let recipients = recipients(session.caller(), &self.parts.ids, conversation)?;
        let listening = self.ephemeral.listening.entry(slot).or_default();
        if !listening.typings.allows(self.turn.now(), TYPINGS) {
            let left = listening.typings.left(self.turn.now());
            self.parts.metrics.limited(Limit::Typing);
            let text = "typing is told at most ten times a second";
            self.fail_beyond(slot, conn, id, ("typing", left), text);
            return Ok(());
        }
        let query = match recipients {
            Recipients::Users(users) => {
                self.type_to(slot, conn, id, (conversation, &users));
                return Ok(());
            }
            Recipients::Group(group) => {
                let names = &session.names;
                let listing = Listing {
                    namespace: names.namespace().to_owned(),
                    user: names.user().to_owned(),
                    name: conversation.to_owned(),
                    after: None,
                };
                Query::Typing {
                    access: Access {
                        user: session.id,
                        conversation: group,
                        group: true,
                    },
                    listing: Box::new(listing),
                }
            }
        };
        self.query(slot, conn, id, query);
        Ok(())
    }

    /// Tells users that the caller writes in a conversation.
    fn type_to(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        (conversation, users): (&str, &[UserId]),
    ) {
        let Some(session) = conn.session() else {
            return;
        };
        let event = Event::Typing(TypingUser {
            conversation: conversation.into(),
            user: session.names.user().into(),
        });
        self.pass(users, event, true);
        self.reply(slot, conn, id, ReplyBody::Typing(Done {}));
    }

    /// Goes on with a command that a reader was needed for.
    pub(crate) fn found(&mut self, slot: u32, conn: &mut Conn, id: u32, finding: Finding) {
        match finding {
            Finding::Typing {
                conversation,
                users,
            } => self.type_to(slot, conn, id, (&conversation, &users)),
            Finding::Contacts { names, watch, part } => {
                if let Err((code, message)) = self.contacts(slot, conn, id, (&names, watch, &part))
                {
                    self.fail(slot, conn, id, code, message);
                }
            }
            Finding::LastSeen { asked } => self.answer_asked(slot, conn, id, &asked),
        }
    }

    fn signal(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        request: &Signal<'_>,
    ) -> Result<(), Failure> {
        let Some(session) = conn.session().filter(|_| is_name(&request.user)) else {
            let text = "a user is 1 to 64 bytes of [A-Za-z0-9._@-]";
            return Err((ErrorCode::BadRequest, text));
        };
        let namespace = session.names.namespace();
        let user = self.parts.ids.user(namespace, &request.user);
        let event = Event::Signal(Signalled {
            user: session.names.user().into(),
            data: request.data.borrow(),
        });
        let online = self.pass(&[user], event, false);
        self.reply(slot, conn, id, ReplyBody::Signal(SignalReply { online }));
        Ok(())
    }

    /// Tells something to all connections of these users; whether there are any.
    fn pass(&self, users: &[UserId], event: Event<'_>, trifle: bool) -> bool {
        let directory = &self.parts.directory;
        let shards = users
            .iter()
            .fold(0, |all: ShardSet, user| all | directory.shards(*user));
        if shards != 0 {
            let event = EphemeralEvent::ToUsers {
                users: users.into(),
                frames: Arc::new(PushFrames::new(event)),
                trifle,
            };
            self.refused(self.parts.hub.lanes.pass(shards, &event));
        }
        shards != 0
    }

    /// Counts the shards that had no room for something.
    pub(super) fn refused(&self, shards: u64) {
        for _ in 0..shards {
            self.parts.metrics.limited(Limit::Ephemeral);
        }
    }
}
