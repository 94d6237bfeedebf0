//! The effects of commands about ephemeral events on the state of a shard.

use std::sync::Arc;

use trunkline_core::cost::Cost;
use trunkline_core::exchange::{
    Access, BAD_TOPIC, BAD_USER, Failure, Listing, Passing, Query, TOO_MANY_TOPICS,
};
use trunkline_core::hub::{
    NewPublication, Publication, Published, PushFrames, Since, TopicId, price,
};
use trunkline_core::ids::UserId;
use trunkline_core::request::{Recipients, recipients};
use trunkline_proto::ErrorCode;
use trunkline_proto::message::{
    self, Event, Json, Publish, PublishReply, SignalReply, Signalled, Subscribe, SubscribeReply,
};
use trunkline_proto::names::is_name;

use super::super::tokens::Permits;
use super::Ephemeral;
use super::topics::Subscribed;
use crate::auth::Act;
use crate::metrics::Limit;
use crate::session::Session;
use crate::timer::Tick;

const BAD_SINCE: Failure = (
    ErrorCode::BadRequest,
    "\"since\" is not a topic position of this gateway",
);

const TOO_MANY: Failure = (
    ErrorCode::LimitExceeded,
    "this connection has reached its number of subscriptions: max_subscriptions",
);

/// A session that sends a command.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    /// The slot of its connection.
    pub(super) slot: u32,
    /// The session.
    pub(super) session: &'a Session,
}

impl Sender<'_> {
    pub(super) fn namespace(&self) -> &str {
        self.session.names.namespace()
    }
}

/// The result of a `typing` command.
#[derive(Debug)]
pub(super) enum Typing {
    /// The other user of the conversation is told, at this cost.
    Told(Cost),
    /// A reader has to look up the members of the group.
    Ask(Query),
    /// The connection sent too many: it may try again after this number of ticks.
    TooOften(Tick),
}

/// The result of a `signal` command.
#[derive(Debug)]
pub(super) enum Signal {
    /// The user is told.
    Told(Done<SignalReply>),
    /// A reader has to look up whether the user accepts it.
    Ask(Query),
}

/// That a user types in a conversation, or has stopped.
#[derive(Debug, Clone, Copy)]
pub(super) struct TypingIn<'a> {
    pub(super) conversation: &'a str,
    pub(super) stop: bool,
}

/// A command that passed an event on.
#[derive(Debug)]
pub(super) struct Done<T> {
    /// The reply to the command.
    pub(super) reply: T,
    /// The cost of the event, with that of telling it.
    pub(super) cost: Cost,
}

/// The result of a `subscribe` command.
pub(super) enum Subscribing {
    /// The subscription begins.
    Begun(Beginning),
    /// Another node has to tell about the topic first.
    Ask(Query),
}

/// The result of a `publish` command.
#[derive(Debug)]
pub(super) enum Publishing {
    /// The subscribers are told.
    Told(Done<PublishReply<'static>>),
    /// Another node numbers the publication.
    Ask(Query),
}

/// The beginning of a subscription.
pub(super) struct Beginning {
    /// The reply to the command.
    pub(super) reply: SubscribeReply<'static>,
    /// The missed publications, to be told after the reply.
    pub(super) missed: Vec<Arc<Publication>>,
}

impl Ephemeral {
    /// Returns the topic with this name in the namespace of a session.
    fn topic(&self, sender: Sender<'_>, name: &str) -> Result<TopicId, Failure> {
        if !is_name(name) {
            return Err(BAD_TOPIC);
        }
        Ok(self.ids.topic(sender.namespace(), name))
    }

    /// Handles `typing`.
    ///
    /// # Errors
    /// The conversation is not one of the sender's.
    pub(super) fn typing(
        &mut self,
        sender: Sender<'_>,
        request: &message::Typing<'_>,
        now: Tick,
    ) -> Result<Typing, Failure> {
        let session = sender.session;
        let (conversation, stop) = (&*request.conversation, request.stop);
        let recipients = recipients(session.caller(), &self.ids, conversation)?;
        if let Err(wait) = self.listening.type_once(sender.slot, now) {
            self.metrics.limited(Limit::Typing);
            return Ok(Typing::TooOften(wait));
        }
        Ok(match recipients {
            Recipients::Users(users) => match self.who_may_block(session, &users) {
                Some(to) => Typing::Ask(Query::Pass {
                    from: session.id,
                    to,
                    passing: Arc::new(Passing::Typing {
                        conversation: conversation.to_owned(),
                        stop,
                    }),
                }),
                None => {
                    let typing = TypingIn { conversation, stop };
                    Typing::Told(self.tell_typing(session, typing, &users))
                }
            },
            Recipients::Group(group) => Typing::Ask(Query::Typing {
                access: Access {
                    user: session.id,
                    conversation: group,
                    group: true,
                },
                listing: Box::new(Listing {
                    namespace: session.names.namespace().to_owned(),
                    user: session.names.user().to_owned(),
                    name: conversation.to_owned(),
                    after: None,
                }),
                stop,
            }),
        })
    }

    /// Returns a user who may block the user of a session. Only the store knows whether it is so.
    fn who_may_block(&self, session: &Session, users: &[UserId]) -> Option<UserId> {
        let may_block = |user: &UserId| self.hub.blocks.may_block(*user, session.id);
        users.iter().copied().find(may_block)
    }

    /// Tells users that the user of a session types in a conversation, or has stopped. Returns the cost.
    pub(super) fn tell_typing(
        &self,
        session: &Session,
        typing: TypingIn<'_>,
        users: &[UserId],
    ) -> Cost {
        let TypingIn { conversation, stop } = typing;
        let frames = PushFrames::typing(conversation, session.names.user(), stop);
        self.pass(users, frames, true).cost
    }

    /// Handles `signal`.
    ///
    /// # Errors
    /// The name is not one of a user.
    pub(super) fn signal(
        &self,
        sender: Sender<'_>,
        request: &message::Signal<'_>,
    ) -> Result<Signal, Failure> {
        if !is_name(&request.user) {
            return Err(BAD_USER);
        }
        let session = sender.session;
        let user = self.ids.user(sender.namespace(), &request.user);
        Ok(match self.who_may_block(session, &[user]) {
            Some(to) => Signal::Ask(Query::Pass {
                from: session.id,
                to,
                passing: Arc::new(Passing::Signal(request.data.clone().into_owned())),
            }),
            None => Signal::Told(self.tell_signal(session, user, &request.data)),
        })
    }

    /// Hands a value of the user of a session to another user.
    pub(super) fn tell_signal(
        &self,
        session: &Session,
        user: UserId,
        data: &Json<'_>,
    ) -> Done<SignalReply> {
        let event = Event::Signal(Signalled {
            user: session.names.user().into(),
            data: data.borrow(),
        });
        let passed = self.pass(&[user], PushFrames::new(event), false);
        Done {
            reply: SignalReply { online: passed.any },
            cost: passed.cost,
        }
    }

    /// Handles `subscribe`. `is_asked`: another node has told about the topic, if one has to.
    ///
    /// # Errors
    /// The token does not allow it, a limit is reached, or a name or position is not valid.
    pub(super) fn subscribe(
        &mut self,
        sender: Sender<'_>,
        request: &Subscribe<'_>,
        permits: &Permits,
        is_asked: bool,
    ) -> Result<Subscribing, Failure> {
        let slot = sender.slot;
        let topic = self.topic(sender, &request.topic)?;
        permits.check(slot, Act::Subscribe, &request.topic)?;
        let since = match &request.since {
            None => None,
            Some(since) => Some(Since::parse(since).ok_or(BAD_SINCE)?),
        };
        let known = self.listening.subscription(slot, topic);
        let full = self.listening.subscriptions(slot) >= self.limits.subscriptions
            || !self.listening.has_room(1, self.limits.listenings);
        if known.is_none() && full {
            self.metrics.limited(Limit::Subscriptions);
            return Err(TOO_MANY);
        }
        if !is_asked
            && let Some(query) =
                { &self.hub }.before_subscribing(topic, &request.topic, request.since.as_deref())
        {
            return Ok(Subscribing::Ask(query));
        }
        let subscribed = self.subscriptions.subscribe(slot, known, topic, since);
        let Subscribed { begun, key } = subscribed.map_err(|_| {
            self.metrics.limited(Limit::Topics);
            TOO_MANY_TOPICS
        })?;
        self.listening.add_subscription(slot, topic, key);
        if permits.are_on() {
            self.subscriptions.keep_name(topic, &request.topic);
        }
        let reply = SubscribeReply {
            pos: begun.pos.text().into(),
            recovered: begun.missed.is_some(),
        };
        let missed = begun.missed.unwrap_or_default();
        Ok(Subscribing::Begun(Beginning { reply, missed }))
    }

    /// Handles `unsubscribe`.
    ///
    /// # Errors
    /// The connection has no subscription to the topic.
    pub(super) fn unsubscribe(
        &mut self,
        sender: Sender<'_>,
        topic: &str,
    ) -> Result<SubscribeReply<'static>, Failure> {
        let topic = self.topic(sender, topic)?;
        let key = self.listening.remove_subscription(sender.slot, topic);
        let key = key.ok_or((ErrorCode::Unknown, "no subscription to this topic"))?;
        let pos = self.hub.topics.pos(topic);
        self.subscriptions.unsubscribe(topic, key);
        Ok(SubscribeReply {
            pos: pos.map(Since::text).unwrap_or_default().into(),
            recovered: false,
        })
    }

    /// Handles `publish`.
    ///
    /// # Errors
    /// The token does not allow it, a limit is reached, or the name is not valid.
    pub(super) fn publish(
        &self,
        sender: Sender<'_>,
        request: &Publish<'_>,
        permits: &Permits,
    ) -> Result<Publishing, Failure> {
        let topic = self.topic(sender, &request.topic)?;
        permits.check(sender.slot, Act::Publish, &request.topic)?;
        let new = NewPublication {
            topic: &request.topic,
            from: sender.session.names.user(),
            data: &request.data,
        };
        let published = self.hub.publish(topic, new).map_err(|_| {
            self.metrics.limited(Limit::Topics);
            TOO_MANY_TOPICS
        })?;
        let published = match published {
            Ok(published) => published,
            Err(query) => return Ok(Publishing::Ask(query)),
        };
        let Published {
            pos,
            refused,
            subscribers,
            bytes,
        } = published;
        self.count_refused(refused);
        Ok(Publishing::Told(Done {
            reply: PublishReply {
                pos: pos.text().into(),
            },
            cost: price::written(bytes) + price::told(subscribers as usize, bytes),
        }))
    }

    /// Ends the subscriptions of a connection to topics that it may not keep. Returns the names of
    /// these topics, in order.
    pub(in super::super) fn end_subscriptions(
        &mut self,
        slot: u32,
        may_keep: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let topics = self.listening.topics(slot);
        let named = topics.map(|topic| (self.subscriptions.name(topic).to_owned(), topic));
        let mut ended: Vec<_> = named.filter(|(name, _)| !may_keep(name)).collect();
        ended.sort_unstable();
        for (_, topic) in &ended {
            if let Some(key) = self.listening.remove_subscription(slot, *topic) {
                self.subscriptions.unsubscribe(*topic, key);
            }
        }
        ended.into_iter().map(|(name, _)| name).collect()
    }
}
