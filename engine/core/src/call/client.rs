//! A user who acts through calls.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use trunkline_proto::message as m;
use trunkline_proto::message::{CommandBody, ContactsReply, Done, PresenceReply, ReplyBody};
use trunkline_proto::{ErrorCode, Str};

use super::asking::Asking;
use super::{CallError, Service, failed};
use crate::cost::Cost;
use crate::exchange::Failure;
use crate::ids::UserId;
use crate::request::{Caller, Names};

const NO_ANSWER: Failure = (
    ErrorCode::StorageUnavailable,
    "no answer came in time: a change may have been carried out or not; ask again, with the same key if there is one",
);
pub(super) const NO_SESSION: Failure = (
    ErrorCode::BadRequest,
    "this command needs a session: a call cannot watch or subscribe",
);
pub(super) const ODD: Failure = (ErrorCode::Internal, "the answer belongs to another command");

/// A user who acts through calls. [`Client::answer`] is a future. The other methods block their thread
/// until the answer comes.
pub struct Client<'s> {
    pub(super) service: &'s Service,
    pub(super) id: UserId,
    pub(super) names: Names,
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
        recall: Recall(m::MessageRef<'_>) -> Done;
        /// Deletes a message from the user's own view.
        delete: Delete(m::MessageRef<'_>) -> Done;
        /// Adds a reaction to a message, or removes it.
        react: React(m::React<'_>) -> Done;
        /// Creates a group.
        group_create: GroupCreate(m::GroupCreate<'_>) -> m::GroupCreateReply<'static>;
        /// Adds members to a group.
        group_add: GroupAdd(m::GroupMembers<'_>) -> m::GroupMembersReply;
        /// Removes members from a group.
        group_remove: GroupRemove(m::GroupMembers<'_>) -> m::GroupMembersReply;
        /// Leaves a group.
        group_leave: GroupLeave(m::GroupLeave<'_>) -> Done;
        /// Changes the name of a group.
        group_rename: GroupRename(m::GroupRename<'_>) -> Done;
        /// Changes the role of a member of a group.
        group_role: GroupRole(m::GroupRole<'_>) -> Done;
        /// Changes the name, the picture and the rules of a group.
        group_set: GroupSet(m::GroupSet<'_>) -> Done;
        /// Joins a group that is open for everybody.
        group_join: GroupJoin(m::GroupJoin<'_>) -> m::GroupMembersReply;
        /// Pins a message of a group.
        pin: Pin(m::MessageRef<'_>) -> Done;
        /// Takes a message of a group from the pinned ones.
        unpin: Unpin(m::MessageRef<'_>) -> Done;
        /// Blocks a user.
        block: Block(m::UserRef<'_>) -> Done;
        /// Blocks a user no longer.
        unblock: Unblock(m::UserRef<'_>) -> Done;
        /// Reads a page of the users whom the user blocks.
        blocked: Blocked(m::Blocked<'_>) -> m::BlockedReply<'static>;
        /// Changes the user's own settings of a conversation.
        settings: Settings(m::Settings<'_>) -> Done;
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
        /// Finds messages with words.
        search: Search(m::Search<'_>) -> m::SearchReply<'static>;
        /// Changes the user's contacts and reads them. `watch` must not be set, because a call has no
        /// session that could receive pushes.
        contacts: Contacts(m::Contacts<'_>) -> ContactsReply<'static>;
    }

    /// Reads which users are online, and when the others were last seen.
    ///
    /// # Errors
    /// There are more than 1,000 names, a name is not valid, or the store could not be read.
    pub fn presence(&self, users: &[&str]) -> Result<PresenceReply<'static>, CallError> {
        let query = users.iter().map(|user| Str::from(*user)).collect();
        let asked = m::Presence {
            query,
            ..m::Presence::default()
        };
        match self.call(&CommandBody::Presence(asked))? {
            ReplyBody::Presence(reply) => Ok(reply),
            _ => Err(failed(ODD)),
        }
    }

    /// Carries out a command, and blocks the thread until the answer is there.
    ///
    /// # Errors
    /// The error reply that a session would get. A command that needs a session fails with 107: to
    /// watch or to subscribe.
    pub fn call(&self, command: &CommandBody<'_>) -> Result<ReplyBody<'static>, CallError> {
        let answered = block_on(self.answer(command), self.service.timeout);
        answered.map_or_else(|| Err(no_answer()), |answered| answered.reply)
    }

    /// Carries out a command, and returns its reply with its cost. The future has no timeout of its own.
    /// A change may be carried out after the future is dropped.
    ///
    /// Whether the user may publish to a topic is for the caller to check.
    pub async fn answer(&self, command: &CommandBody<'_>) -> Carried {
        Asking::new(self).run(command).await
    }

    /// Returns the user as the caller of commands.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller {
            id: self.id,
            names: &self.names,
        }
    }

    /// Returns the id of the user.
    pub const fn id(&self) -> UserId {
        self.id
    }
}

/// The reply to a command, with the cost of the work for it.
#[derive(Debug)]
pub struct Carried {
    /// The reply, or the error reply that a session would get.
    pub reply: Result<ReplyBody<'static>, CallError>,
    /// The cost of the work beyond reading the command.
    pub cost: Cost,
}

/// Returns the error of a call whose answer did not come in time.
pub fn no_answer() -> CallError {
    failed(NO_ANSWER)
}

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks the thread until a future is ready, at most for `time`. Returns `None` if it is not.
fn block_on<T>(future: impl Future<Output = T>, time: Duration) -> Option<T> {
    let until = Instant::now() + time;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        let left = until.checked_duration_since(Instant::now())?;
        thread::park_timeout(left);
    }
}
