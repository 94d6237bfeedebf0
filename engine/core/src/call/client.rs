//! A user who acts through calls.

use compact_str::CompactString;
use trunkline_proto::ErrorCode;
use trunkline_proto::message as m;
use trunkline_proto::message::{
    CommandBody, Contact, ContactsReply, ErrorReply, PresenceReply, ReplyBody, UserPresence,
};

use super::{CallError, Service, failed};
use crate::exchange::{
    Call, CallAnswer, Failure, Finding, Job, Lost, Pending, PresenceQuery, PresenceUser, Query,
    ReplyTo,
};
use crate::ids::UserId;
use crate::owned;
use crate::paging::ListPage;
use crate::request::{self, Ask, Caller, Names, Prepared, check_presence, too_large};
use crate::turns::Flow;

/// The milliseconds after which a full queue probably has room again.
const RETRY_MS: u64 = 100;

const NO_ANSWER: Failure = (
    ErrorCode::StorageUnavailable,
    "no answer came in time: a change may have been carried out or not; ask again, with the same key if there is one",
);
const STOPPING: Failure = (
    ErrorCode::StorageUnavailable,
    "the gateway is stopping: a change may have been carried out or not; ask again later, with the same key if there is one",
);
const NO_SESSION: Failure = (
    ErrorCode::BadRequest,
    "this command needs a session: a call cannot watch, subscribe, publish, type or signal",
);
const ODD: Failure = (ErrorCode::Internal, "the answer belongs to another command");

/// A user who acts through calls. Each call blocks its thread until the answer comes, so calls are
/// not for threads that must not wait.
pub struct Client<'s> {
    service: &'s Service,
    id: UserId,
    names: Names,
}

/// Defines one method for each command. It takes the command's body and returns the reply's.
macro_rules! commands {
    ($($(#[doc = $doc:literal])+ $name:ident: $command:ident($body:ty) -> $reply:ty;)+) => {$(
        $(#[doc = $doc])+
        ///
        /// # Errors
        /// The error reply that a session would get.
        pub fn $name(&self, body: $body) -> Result<$reply, CallError> {
            match self.call(&CommandBody::$command(body))? {
                ReplyBody::$command(reply) => Ok(reply),
                _ => Err(failed(ODD)),
            }
        }
    )+};
}

impl<'s> Client<'s> {
    pub(super) fn new(service: &'s Service, id: UserId, names: Names) -> Self {
        Self { service, id, names }
    }

    commands! {
        /// Sends a message.
        send: Send(m::Send<'_>) -> m::SendReply<'static>;
        /// Moves the user's marks: the last message delivered to the user, and the last one read.
        ack: Ack(m::Ack<'_>) -> m::AckReply;
        /// Recalls a message of the user, for all members.
        recall: Recall(m::MessageRef<'_>) -> m::Done;
        /// Deletes a message from the user's own view.
        delete: Delete(m::MessageRef<'_>) -> m::Done;
        /// Adds a reaction to a message, or removes it.
        react: React(m::React<'_>) -> m::Done;
        /// Creates a group.
        group_create: GroupCreate(m::GroupCreate<'_>) -> m::GroupCreateReply<'static>;
        /// Adds members to a group.
        group_add: GroupAdd(m::GroupMembers<'_>) -> m::GroupMembersReply;
        /// Removes members from a group.
        group_remove: GroupRemove(m::GroupMembers<'_>) -> m::GroupMembersReply;
        /// Leaves a group.
        group_leave: GroupLeave(m::GroupLeave<'_>) -> m::Done;
        /// Changes the name of a group.
        group_rename: GroupRename(m::GroupRename<'_>) -> m::Done;
        /// Reads the name and a page of the members of a group.
        group_info: GroupInfo(m::GroupInfo<'_>) -> m::GroupInfoReply<'static>;
        /// Reads the user's events after a position.
        sync: Sync(m::Sync<'_>) -> m::SyncReply<'static>;
        /// Reads a page of messages of a conversation.
        history: History(m::History<'_>) -> m::HistoryReply<'static>;
        /// Reads one message.
        get: Get(m::Get<'_>) -> m::GetReply<'static>;
        /// Reads which members a message was delivered to, and which have read it.
        receipts: Receipts(m::Receipts<'_>) -> m::ReceiptsReply<'static>;
        /// Reads the reactions to a message, or the users of one reaction.
        reactions: Reactions(m::Reactions<'_>) -> m::ReactionsReply<'static>;
        /// Reads a page of the user's conversations.
        conversations: Conversations(m::Conversations<'_>) -> m::ConversationsReply<'static>;
        /// Changes the user's contacts and reads them. `watch` must not be set, because a call has no
        /// session that could receive pushes.
        contacts: Contacts(m::Contacts<'_>) -> ContactsReply<'static>;
    }

    /// Reads which users are online, and when the others were last seen.
    ///
    /// # Errors
    /// There are more than 1,000 names, a name is not valid, or the store could not be read.
    pub fn presence(&self, users: &[&str]) -> Result<PresenceReply<'static>, CallError> {
        check_presence(users.iter().copied()).map_err(failed)?;
        let users = self.states(users.iter().copied())?;
        Ok(PresenceReply { users, more: false })
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// The error reply that a session would get. A command that needs a session fails with 107: to
    /// watch, subscribe, publish, type or signal.
    pub fn call(&self, command: &CommandBody<'_>) -> Result<ReplyBody<'static>, CallError> {
        let Service {
            parts, ids, epochs, ..
        } = self.service;
        let caller = Caller {
            id: self.id,
            names: &self.names,
        };
        if let Some(text) = too_large(caller, &parts.limits, command) {
            return Err(ErrorReply::new(ErrorCode::LimitExceeded, text));
        }
        match command {
            CommandBody::Contacts(contacts) if contacts.watch => return Err(failed(NO_SESSION)),
            CommandBody::Presence(asked) if asked.watch.is_empty() && asked.unwatch.is_empty() => {
                let users: Vec<_> = asked.query.iter().map(|user| &**user).collect();
                return self.presence(&users).map(ReplyBody::Presence);
            }
            _ => {}
        }
        let (call, pending) = Call::new();
        let ask = Ask {
            caller,
            ids,
            epochs,
            limits: &parts.limits,
            reply_to: ReplyTo::Call(call),
        };
        let mut batch = parts.sequencer.spare();
        let asked = request::ask(&ask, command, &mut batch);
        // The queue holds the only other copy. If that is dropped, the call ends.
        drop(ask);
        match asked {
            Ok(Prepared::Queued) => {
                if parts.sequencer.try_send(batch).is_err() {
                    let text = "too many commands are waiting: try again";
                    return Err(ErrorReply::beyond("commands", RETRY_MS, text));
                }
                self.answer(&pending)
            }
            Ok(Prepared::Query(query)) => self.read(query),
            Ok(Prepared::Reply(body)) => Ok(body),
            Err(failure) if failure.0 == ErrorCode::UnknownCommand => Err(failed(NO_SESSION)),
            Err(failure) => Err(failed(failure)),
        }
    }

    /// Sends a query to the readers and waits for the reply.
    fn read(&self, query: Query) -> Result<ReplyBody<'static>, CallError> {
        let pending = self.ask(query)?;
        self.answer(&pending)
    }

    fn ask(&self, query: Query) -> Result<Pending, CallError> {
        let parts = &self.service.parts;
        let (call, pending) = Call::new();
        let flow = Flow {
            namespace: self.service.ids.namespace(self.names.namespace()),
            user: self.id,
        };
        let (reply_to, until) = (ReplyTo::Call(call), parts.directory.head());
        let job = Job::new(flow, reply_to, until, pending.wanted(), query);
        match parts.readers.try_send(job) {
            Ok(()) => Ok(pending),
            Err(refused) if refused.has_ended => Err(failed(STOPPING)),
            Err(_) => {
                let text = "too many reads are waiting: try again";
                Err(ErrorReply::beyond("reads", RETRY_MS, text))
            }
        }
    }

    fn wait(&self, pending: &Pending) -> Result<CallAnswer, CallError> {
        let answer = pending.wait(self.service.timeout);
        answer.map_err(|lost| match lost {
            Lost::Late => failed(NO_ANSWER),
            Lost::Dropped => failed(STOPPING),
        })
    }

    fn answer(&self, pending: &Pending) -> Result<ReplyBody<'static>, CallError> {
        match self.wait(pending)? {
            CallAnswer::Reply(ReplyBody::Error(error)) => Err(owned::error(error)),
            CallAnswer::Reply(body) => Ok(body),
            CallAnswer::Ask(query) => self.read(query),
            CallAnswer::Failed(failure) => Err(failed(failure)),
            CallAnswer::Found(Finding::Contacts { names, part, .. }) => {
                let after = part.after.as_deref().unwrap_or_default();
                let names = names.iter().map(String::as_str);
                let page = ListPage::behind(after, part.limit, names, |name| name);
                let contact = |user: UserPresence<'static>| Contact {
                    user: user.user,
                    online: user.online,
                    last_seen: user.last_seen,
                };
                let contacts = self.states(page.entries.into_iter())?.into_iter();
                Ok(ReplyBody::Contacts(ContactsReply {
                    contacts: contacts.map(contact).collect(),
                    more: page.more,
                }))
            }
            CallAnswer::Found(_) => Err(failed(ODD)),
        }
    }

    /// Returns the presence of users. The store knows when users left whom memory has forgotten.
    fn states<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<UserPresence<'static>>, CallError> {
        let Service { parts, ids, .. } = self.service;
        let user = |name: &str| {
            let id = ids.user(self.names.namespace(), name);
            let state = parts.hub.state(id, None);
            PresenceUser {
                id,
                name: CompactString::from(name),
                unknown: state.is_unknown(),
                left: state.left,
            }
        };
        let mut asked = PresenceQuery {
            users: names.map(user).collect(),
            watched: 0,
            contacts: None,
        };
        if asked.users.iter().any(|user| user.unknown) {
            let pending = self.ask(Query::LastSeen { asked })?;
            asked = match self.wait(&pending)? {
                CallAnswer::Found(Finding::LastSeen { asked }) => asked,
                CallAnswer::Failed(failure) => return Err(failed(failure)),
                _ => return Err(failed(ODD)),
            };
        }
        let now = parts.hub.clock.now();
        let shown = |user: &PresenceUser| {
            parts
                .hub
                .state(user.id, user.left)
                .shown_as(&user.name, now)
        };
        Ok(asked.users.iter().map(shown).collect())
    }
}
