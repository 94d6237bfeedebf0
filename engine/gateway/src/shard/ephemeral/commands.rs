//! Commands about ephemeral events: carries them out, and replies.

use std::sync::Arc;

use trunkline_core::cost::Cost;
use trunkline_core::exchange::{
    Failure, Finding, Passing, PresenceQuery, Query, TopicAnswer, TopicAsk, TopicFound,
};
use trunkline_core::fit::{Cut, ReplyFrame, write_fitting};
use trunkline_core::hub::price;
use trunkline_core::ids::UserId;
use trunkline_proto::message::{CommandBody, Done, PublishReply, ReplyBody, Subscribe};

use super::super::connection::Conn;
use super::super::core::Core;
use super::super::rate::Beyond;
use super::requests::{Beginning, Publishing, Sender, Signal, Subscribing, Typing, TypingIn};
use super::tell::Worth;
use crate::metrics::Work;
use crate::shared::SharedPush;

/// The cost of each user whom a client names to see its presence, or to watch it: the user's id, and
/// looking up the user's state and watchers.
const ASKED: Cost = Cost::nanos(400);

/// The cost of each user in a reply about presence: looking up the state again, and writing it.
const SHOWN: Cost = Cost::nanos(300);

impl Core {
    /// Carries out a command of a session about ephemeral events. Returns `false` for other commands.
    pub(in super::super) fn ephemeral_command(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        command: &CommandBody<'_>,
    ) -> bool {
        match self.carry_out(slot, conn, id, command) {
            Ok(known) => known,
            Err((code, message)) => {
                self.fail(slot, conn, id, code, message);
                true
            }
        }
    }

    fn carry_out(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        command: &CommandBody<'_>,
    ) -> Result<bool, Failure> {
        let Some(session) = conn.session() else {
            return Ok(false);
        };
        let sender = Sender { slot, session };
        let body = match command {
            CommandBody::Presence(request) => {
                let asked = self.ephemeral.presence(sender, request, &mut self.turn)?;
                let named = request.watch.len() + request.unwatch.len() + request.query.len();
                self.charge(slot, conn, Work::Read, ASKED.times(named));
                self.show(slot, conn, id, asked);
                return Ok(true);
            }
            CommandBody::Typing(request) => {
                let now = self.turn.now();
                match self.ephemeral.typing(sender, request, now)? {
                    Typing::Told(cost) => {
                        self.bill(slot, conn, cost);
                        ReplyBody::Typing(Done {})
                    }
                    Typing::Ask(query) => {
                        self.query(slot, conn, id, query);
                        return Ok(true);
                    }
                    Typing::TooOften(retry) => {
                        let limit = "typing";
                        let text = "a connection may send ten typing events a second";
                        self.fail_beyond(slot, conn, id, Beyond { limit, retry }, text);
                        return Ok(true);
                    }
                }
            }
            CommandBody::Signal(request) => match self.ephemeral.signal(sender, request)? {
                Signal::Told(signalled) => {
                    self.bill(slot, conn, signalled.cost);
                    ReplyBody::Signal(signalled.reply)
                }
                Signal::Ask(query) => {
                    self.query(slot, conn, id, query);
                    return Ok(true);
                }
            },
            CommandBody::Subscribe(request) => {
                let begun = self
                    .ephemeral
                    .subscribe(sender, request, &self.permits, false)?;
                match begun {
                    Subscribing::Begun(beginning) => self.begin(slot, conn, id, beginning),
                    Subscribing::Ask(query) => {
                        self.query(slot, conn, id, query);
                    }
                }
                return Ok(true);
            }
            CommandBody::Unsubscribe(request) => {
                let reply = self.ephemeral.unsubscribe(sender, &request.topic)?;
                self.bill(slot, conn, Cost::NONE);
                ReplyBody::Unsubscribe(reply)
            }
            CommandBody::Publish(request) => {
                match self.ephemeral.publish(sender, request, &self.permits)? {
                    Publishing::Told(published) => {
                        self.bill(slot, conn, published.cost);
                        ReplyBody::Publish(published.reply)
                    }
                    Publishing::Ask(query) => {
                        self.bill(slot, conn, price::written(query.held_bytes()));
                        self.query(slot, conn, id, query);
                        return Ok(true);
                    }
                }
            }
            _ => return Ok(false),
        };
        self.reply(slot, conn, id, body);
        Ok(true)
    }

    /// Replies to a subscription that begins, and tells the client what it missed.
    fn begin(&mut self, slot: u32, conn: &mut Conn, id: u32, beginning: Beginning) {
        let Beginning { reply, missed } = beginning;
        let bytes = missed
            .iter()
            .map(|missed| price::told(1, missed.frames.size()));
        self.bill(slot, conn, bytes.sum());
        self.reply(slot, conn, id, ReplyBody::Subscribe(reply));
        for missed in missed {
            let mut push = SharedPush::new(Arc::clone(&missed.frames));
            self.tell(slot, conn, &mut push, Worth::Asked);
        }
    }

    /// Goes on with a command about a topic that another node has answered.
    fn found_topic(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        found: TopicFound,
    ) -> Result<(), Failure> {
        let TopicFound { what, answer } = found;
        let answer = answer?;
        let Some(session) = conn.session() else {
            return Ok(());
        };
        let sender = Sender { slot, session };
        match (what, answer) {
            (TopicAsk::Subscribe { name, since }, _) => {
                let request = Subscribe {
                    topic: name.into(),
                    since: since.map(Into::into),
                };
                let permits = &self.permits;
                let begun = self.ephemeral.subscribe(sender, &request, permits, true)?;
                if let Subscribing::Begun(beginning) = begun {
                    self.begin(slot, conn, id, beginning);
                }
            }
            (TopicAsk::Publish { .. }, TopicAnswer::Published(pos)) => {
                let pos = pos.into();
                self.reply(slot, conn, id, ReplyBody::Publish(PublishReply { pos }));
            }
            // The other node answers what it was asked.
            (TopicAsk::Publish { .. }, TopicAnswer::Known) => {}
        }
        Ok(())
    }

    /// Charges a connection for a command about ephemeral events, and for what follows from it. What
    /// the command itself costs is a part of the slice of its connection.
    fn bill(&mut self, slot: u32, conn: &mut Conn, follows: Cost) {
        self.slice.take(price::COMMAND);
        self.charge(slot, conn, Work::Ephemeral, follows);
    }

    /// Goes on with a command for which a reader looked something up.
    pub(in super::super) fn found(
        &mut self,
        slot: u32,
        conn: &mut Conn,
        id: u32,
        finding: Finding,
    ) {
        let Some(session) = conn.session() else {
            return;
        };
        match finding {
            Finding::Typing {
                conversation,
                users,
                stop,
            } => {
                let typing = TypingIn {
                    conversation: &conversation,
                    stop,
                };
                let cost = self.ephemeral.tell_typing(session, typing, &users);
                self.bill(slot, conn, cost);
                self.reply(slot, conn, id, ReplyBody::Typing(Done {}));
            }
            Finding::Pass { to, passing } => match &*passing {
                Passing::Typing { conversation, stop } => {
                    let typing = TypingIn {
                        conversation,
                        stop: *stop,
                    };
                    let cost = self.ephemeral.tell_typing(session, typing, &[to]);
                    self.bill(slot, conn, cost);
                    self.reply(slot, conn, id, ReplyBody::Typing(Done {}));
                }
                Passing::Signal(data) => {
                    let signalled = self.ephemeral.tell_signal(session, to, data);
                    self.bill(slot, conn, signalled.cost);
                    self.reply(slot, conn, id, ReplyBody::Signal(signalled.reply));
                }
                // Only calls keep the event.
                Passing::Kept => {}
            },
            Finding::Contacts { names, watch, part } => {
                let cost = ASKED.times(names.len());
                let sender = Sender { slot, session };
                let (ephemeral, turn) = (&mut self.ephemeral, &mut self.turn);
                let asked = ephemeral.contacts(sender, &names, watch, &part, turn);
                self.charge(slot, conn, Work::Read, cost);
                match asked {
                    Ok(asked) => self.show(slot, conn, id, asked),
                    Err((code, message)) => self.fail(slot, conn, id, code, message),
                }
            }
            Finding::Topic(found) => {
                let done = self.found_topic(slot, conn, id, found);
                if let Err((code, message)) = done {
                    self.fail(slot, conn, id, code, message);
                }
            }
            Finding::LastSeen { asked } => match asked.failed {
                None => self.show_known(slot, conn, id, &asked),
                Some((code, message)) => {
                    self.ephemeral.end_begun(slot, begun(&asked));
                    self.fail(slot, conn, id, code, message);
                }
            },
        }
    }

    /// Replies with the presence of users, once a reader has looked up those whom memory does not
    /// know.
    fn show(&mut self, slot: u32, conn: &mut Conn, id: u32, asked: PresenceQuery) {
        if asked.needs_store() {
            let begun: Vec<_> = begun(&asked).collect();
            if !self.query(slot, conn, id, Query::LastSeen { asked }) {
                self.ephemeral.end_begun(slot, begun.into_iter());
            }
        } else {
            self.show_known(slot, conn, id, &asked);
        }
    }

    /// Replies with the presence of users, as many as fit into a message.
    fn show_known(&mut self, slot: u32, conn: &mut Conn, id: u32, asked: &PresenceQuery) {
        /// The most bytes of a user in JSON.
        const USER: usize = 200;
        self.charge(slot, conn, Work::Read, SHOWN.times(asked.users.len()));
        let body = self.ephemeral.answer(slot, asked);
        let most = self.parts.limits.content.message_bytes;
        if asked.users.len() * USER < most {
            return self.reply(slot, conn, id, body);
        }
        if id != 0 {
            let frame = ReplyFrame {
                encoding: conn.encoding(),
                id,
                limit: most,
            };
            write_fitting(self.frames_of(slot, conn), frame, body, &Cut::Back);
        }
    }
}

/// Returns the users whose watch began with a request, each with the number of the command.
fn begun(asked: &PresenceQuery) -> impl Iterator<Item = (UserId, u32)> {
    let begun = asked.users.iter().filter(|user| user.begun != 0);
    begun.map(|user| (user.id, user.begun))
}
