//! Carries out one command of a caller: the sequencer or the readers answer it, or online users get its event.

use std::sync::Arc;

use compact_str::CompactString;
use trunkline_proto::ErrorCode;
use trunkline_proto::message as m;
use trunkline_proto::message::{
    CommandBody, Contact, ContactsReply, Done, ErrorReply, Event, PresenceReply, PublishReply,
    ReplyBody, SignalReply, Signalled, UserPresence,
};
use trunkline_proto::names::is_name;

use super::client::{Carried, Client, NO_SESSION, ODD, no_answer};
use super::{CallError, Service, failed};
use crate::cost::Cost;
use crate::exchange::{
    Access, Answered, BAD_TOPIC, BAD_USER, Call, CallAnswer, Failure, Finding, Job, Listing, Lost,
    Passing, Pending, PresenceQuery, PresenceUser, Query, ReplyTo, TOO_MANY_TOPICS, TopicAnswer,
};
use crate::hub::{NewPublication, PushFrames, UserState, price};
use crate::ids::UserId;
use crate::owned;
use crate::paging::ListPage;
use crate::request::{self, Ask, Prepared, Recipients, check_presence, recipients, too_large};
use crate::turns::Flow;

/// The milliseconds after which a full queue probably has room again.
const RETRY_MS: u64 = 100;

pub(super) const STOPPING: Failure = (
    ErrorCode::StorageUnavailable,
    "the gateway is stopping: a change may have been carried out or not; ask again later, with the same key if there is one",
);
/// A command on its way, and what it has cost so far.
pub(super) struct Asking<'c, 's> {
    client: &'c Client<'s>,
    cost: Cost,
}

impl<'c, 's> Asking<'c, 's> {
    /// Begins to carry out commands of a client.
    pub(super) const fn new(client: &'c Client<'s>) -> Self {
        Self {
            client,
            cost: Cost::NONE,
        }
    }

    /// Carries out a command.
    pub(super) async fn run(mut self, command: &CommandBody<'_>) -> Carried {
        let reply = self.carry_out(command).await;
        Carried {
            reply,
            cost: self.cost,
        }
    }

    async fn carry_out(
        &mut self,
        command: &CommandBody<'_>,
    ) -> Result<ReplyBody<'static>, CallError> {
        let client = self.client;
        let parts = &client.service.parts;
        if let Some(text) = too_large(client.caller(), &parts.limits, command) {
            return Err(ErrorReply::new(ErrorCode::LimitExceeded, text));
        }
        match command {
            CommandBody::Contacts(contacts) if contacts.watch => Err(failed(NO_SESSION)),
            CommandBody::Presence(asked) if asked.watch.is_empty() && asked.unwatch.is_empty() => {
                let names = asked.query.iter().map(|user| &**user);
                check_presence(names.clone()).map_err(failed)?;
                let users = self.states(names).await?;
                Ok(ReplyBody::Presence(PresenceReply { users, more: false }))
            }
            CommandBody::Typing(typing) => self.typing(&typing.conversation, typing.stop).await,
            CommandBody::Signal(signal) => self.signal(signal).await,
            CommandBody::Publish(publish) => self.publish(publish).await,
            command => self.ordinary(command).await,
        }
    }

    /// Carries out a command that the sequencer or the readers answer.
    async fn ordinary(
        &mut self,
        command: &CommandBody<'_>,
    ) -> Result<ReplyBody<'static>, CallError> {
        let Service {
            parts, ids, epochs, ..
        } = self.client.service;
        let (call, pending) = Call::new();
        // In a block, so that the batch and the request do not live while the call waits.
        let prepared = {
            let ask = Ask {
                caller: self.client.caller(),
                ids,
                epochs,
                known: None,
                limits: &parts.limits,
                reply_to: ReplyTo::Call(call),
                read_at: 0,
            };
            let mut batch = parts.sequencer.spare();
            let asked = request::ask(&ask, command, &mut batch);
            // The queue holds the only other copy. If that is dropped, the call ends.
            drop(ask);
            match asked {
                Ok(Prepared::Queued) if parts.sequencer.try_send(batch).is_err() => {
                    let text = "too many commands are waiting: try again";
                    return Err(ErrorReply::beyond("commands", RETRY_MS, text));
                }
                Ok(prepared) => prepared,
                Err((ErrorCode::UnknownCommand, _)) => return Err(failed(NO_SESSION)),
                Err(failure) => return Err(failed(failure)),
            }
        };
        match prepared {
            Prepared::Queued => {
                let answer = self.wait(pending).await?;
                self.reply(answer).await
            }
            Prepared::Query(query) => self.read(query).await,
            Prepared::Reply(body) => Ok(body),
        }
    }

    /// Sends a query to the readers and waits for the answer.
    async fn ask(&mut self, query: Query) -> Result<CallAnswer, CallError> {
        let Client {
            service, id, names, ..
        } = self.client;
        let parts = &service.parts;
        let (call, pending) = Call::new();
        let flow = Flow {
            namespace: service.ids.namespace(names.namespace()),
            user: *id,
        };
        let (reply_to, until) = (ReplyTo::Call(call), parts.directory.head());
        let job = Job::new(flow, reply_to, until, pending.wanted(), query);
        match parts.readers.try_send(job) {
            Ok(()) => self.wait(pending).await,
            Err(refused) if refused.has_ended => Err(failed(STOPPING)),
            Err(_) => {
                let text = "too many reads are waiting: try again";
                Err(ErrorReply::beyond("reads", RETRY_MS, text))
            }
        }
    }

    async fn wait(&mut self, pending: Pending) -> Result<CallAnswer, CallError> {
        match pending.await {
            Ok(Answered { answer, cost }) => {
                self.cost += cost;
                Ok(answer)
            }
            Err(Lost::Late) => Err(no_answer()),
            Err(Lost::Dropped) => Err(failed(STOPPING)),
        }
    }

    /// Returns the reply to a query.
    async fn read(&mut self, query: Query) -> Result<ReplyBody<'static>, CallError> {
        let answer = self.ask(query).await?;
        self.reply(answer).await
    }

    /// Turns an answer into a reply. The sequencer may answer with a query, which the readers answer.
    async fn reply(&mut self, mut answer: CallAnswer) -> Result<ReplyBody<'static>, CallError> {
        loop {
            answer = match answer {
                CallAnswer::Reply(ReplyBody::Error(error)) => return Err(owned::error(error)),
                CallAnswer::Reply(body) => return Ok(body),
                CallAnswer::Ask(query) => self.ask(query).await?,
                CallAnswer::Failed(failure) => return Err(failed(failure)),
                CallAnswer::Found(Finding::Contacts { names, part, .. }) => {
                    let after = part.after.as_deref().unwrap_or_default();
                    let names = names.iter().map(String::as_str);
                    let page = ListPage::behind(after, part.limit, names, |name| name);
                    let contact = |user: UserPresence<'static>| Contact {
                        user: user.user,
                        online: user.online,
                        last_seen: user.last_seen,
                    };
                    let contacts = self.states(page.entries.into_iter()).await?.into_iter();
                    return Ok(ReplyBody::Contacts(ContactsReply {
                        contacts: contacts.map(contact).collect(),
                        more: page.more,
                    }));
                }
                CallAnswer::Found(_) => return Err(failed(ODD)),
            };
        }
    }

    /// Returns the presence of users. The store knows when users left whom memory has forgotten.
    async fn states<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<UserPresence<'static>>, CallError> {
        /// The cost of each user: the user's id, looking up the state, and writing it.
        const SHOWN: Cost = Cost::nanos(700);
        let Service { parts, ids, .. } = self.client.service;
        let (namespace, by) = (self.client.names.namespace(), self.client.id);
        let user = |name: &str| {
            let id = ids.user(namespace, name);
            let state = parts.hub.state(id, None);
            PresenceUser {
                id,
                name: CompactString::from(name),
                unknown: state.is_unknown(),
                left: state.left,
                may_block: parts.hub.blocks.may_block(id, by),
                blocks: false,
                is_unlisted: false,
                begun: 0,
            }
        };
        let mut asked = PresenceQuery {
            users: names.map(user).collect(),
            watched: 0,
            contacts: None,
            by,
            failed: None,
        };
        self.cost += SHOWN.times(asked.users.len());
        if asked.needs_store() {
            asked = match self.ask(Query::LastSeen { asked }).await? {
                CallAnswer::Found(Finding::LastSeen { asked }) => match asked.failed {
                    None => asked,
                    Some(failure) => return Err(failed(failure)),
                },
                CallAnswer::Failed(failure) => return Err(failed(failure)),
                _ => return Err(failed(ODD)),
            };
        }
        let now = parts.hub.clock.now();
        let shown = |user: &PresenceUser| {
            if user.blocks {
                return UserState::HIDDEN.shown_as(&user.name, now);
            }
            let state = parts.hub.state(user.id, user.left);
            state.shown_as(&user.name, now)
        };
        Ok(asked.users.iter().map(shown).collect())
    }

    /// Tells the other members of a conversation who are online that the user is typing.
    async fn typing(
        &mut self,
        conversation: &str,
        stop: bool,
    ) -> Result<ReplyBody<'static>, CallError> {
        let Client { service, names, .. } = self.client;
        let told = recipients(self.client.caller(), &service.ids, conversation);
        let users = match told.map_err(failed)? {
            Recipients::Users(users) => {
                for &to in &users {
                    self.check_pass(to).await?;
                }
                users.to_vec()
            }
            Recipients::Group(group) => {
                let access = Access {
                    user: self.client.id,
                    conversation: group,
                    group: true,
                };
                let listing = Box::new(Listing {
                    namespace: names.namespace().to_owned(),
                    user: names.user().to_owned(),
                    name: conversation.to_owned(),
                    after: None,
                });
                match self
                    .ask(Query::Typing {
                        access,
                        listing,
                        stop,
                    })
                    .await?
                {
                    CallAnswer::Found(Finding::Typing { users, .. }) => users,
                    CallAnswer::Failed(failure) => return Err(failed(failure)),
                    _ => return Err(failed(ODD)),
                }
            }
        };
        let frames = PushFrames::typing(conversation, names.user(), stop);
        let passed = service.parts.hub.pass(&users, frames, true);
        self.cost += price::COMMAND + passed.cost;
        Ok(ReplyBody::Typing(Done {}))
    }

    /// Checks that a user accepts an event of the caller.
    ///
    /// # Errors
    /// The user blocks the caller, or the store could not be read.
    async fn check_pass(&mut self, to: UserId) -> Result<(), CallError> {
        let Client { service, id, .. } = self.client;
        if !service.parts.hub.blocks.may_block(to, *id) {
            return Ok(());
        }
        let query = Query::Pass {
            from: *id,
            to,
            passing: Arc::new(Passing::Kept),
        };
        match self.ask(query).await? {
            CallAnswer::Found(Finding::Pass { .. }) => Ok(()),
            CallAnswer::Failed(failure) => Err(failed(failure)),
            _ => Err(failed(ODD)),
        }
    }

    /// Hands a value to all devices of a user that are online.
    async fn signal(&mut self, signal: &m::Signal<'_>) -> Result<ReplyBody<'static>, CallError> {
        let Client { service, names, .. } = self.client;
        if !is_name(&signal.user) {
            return Err(failed(BAD_USER));
        }
        let user = service.ids.user(names.namespace(), &signal.user);
        self.check_pass(user).await?;
        let event = Event::Signal(Signalled {
            user: names.user().into(),
            data: signal.data.borrow(),
        });
        let hub = &service.parts.hub;
        let passed = hub.pass(&[user], PushFrames::new(event), false);
        self.cost += price::COMMAND + passed.cost;
        let online = passed.any;
        Ok(ReplyBody::Signal(SignalReply { online }))
    }

    /// Publishes a value to a topic.
    async fn publish(&mut self, publish: &m::Publish<'_>) -> Result<ReplyBody<'static>, CallError> {
        let Client { service, names, .. } = self.client;
        if !is_name(&publish.topic) {
            return Err(failed(BAD_TOPIC));
        }
        let topic = service.ids.topic(names.namespace(), &publish.topic);
        let new = NewPublication {
            topic: &publish.topic,
            from: names.user(),
            data: &publish.data,
        };
        let published = service.parts.hub.publish(topic, new);
        let pos = match published.map_err(|_| failed(TOO_MANY_TOPICS))? {
            Ok(published) => {
                let (bytes, subscribers) = (published.bytes, published.subscribers as usize);
                let told = price::told(subscribers, bytes);
                self.cost += price::COMMAND + price::written(bytes) + told;
                published.pos.text()
            }
            Err(query) => {
                self.cost += price::COMMAND + price::written(query.held_bytes());
                match self.ask(query).await? {
                    CallAnswer::Found(Finding::Topic(found)) => {
                        match found.answer.map_err(failed)? {
                            TopicAnswer::Published(pos) => pos,
                            TopicAnswer::Known => return Err(failed(ODD)),
                        }
                    }
                    CallAnswer::Failed(failure) => return Err(failed(failure)),
                    _ => return Err(failed(ODD)),
                }
            }
        };
        let pos = pos.into();
        Ok(ReplyBody::Publish(PublishReply { pos }))
    }
}
