//! Replies: the server's answers to commands.

use serde::{Deserialize, Serialize};

use super::{
    BlockedReply, Joining, Json, Message, MessageReaction, Ping, PinnedMessage, Push, Role,
    SearchReply, Senders, UserPresence, Visibility, is_false,
};
use crate::error::ErrorCode;
use crate::text::Str;

/// A message of the server: a reply or a push.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage<'a> {
    /// The answer to a command.
    Reply(Reply<'a>),
    /// An event.
    Push(Push<'a>),
}

/// The answer to one command.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<'a> {
    /// The command's id; 0 in the error reply to a command whose id is not known.
    pub id: u32,
    /// The answer itself.
    pub body: ReplyBody<'a>,
}

/// The answers of this protocol version: one per command, and an error.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each carries a documented reply")]
pub enum ReplyBody<'a> {
    Error(ErrorReply<'a>),
    Connect(ConnectReply<'a>),
    Send(SendReply<'a>),
    Ack(AckReply),
    Sync(SyncReply<'a>),
    History(HistoryReply<'a>),
    Get(GetReply<'a>),
    Receipts(ReceiptsReply<'a>),
    Conversations(ConversationsReply<'a>),
    GroupCreate(GroupCreateReply<'a>),
    GroupAdd(GroupMembersReply),
    GroupRemove(GroupMembersReply),
    GroupLeave(Done),
    GroupRename(Done),
    GroupInfo(GroupInfoReply<'a>),
    Recall(Done),
    Delete(Done),
    React(Done),
    Contacts(ContactsReply<'a>),
    Presence(PresenceReply<'a>),
    Typing(Done),
    Signal(SignalReply),
    Subscribe(SubscribeReply<'a>),
    Unsubscribe(SubscribeReply<'a>),
    Publish(PublishReply<'a>),
    Ping(Ping),
    Reactions(ReactionsReply<'a>),
    Rpc(RpcReply<'a>),
    Edit(Done),
    GroupRole(Done),
    GroupSet(Done),
    GroupJoin(GroupMembersReply),
    Pin(Done),
    Unpin(Done),
    Block(Done),
    Unblock(Done),
    Blocked(BlockedReply<'a>),
    Settings(Done),
    Search(SearchReply<'a>),
}

/// Reports why a command failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorReply<'a> {
    /// The number of the error, one of [`ErrorCode`].
    pub code: u16,
    /// The name of the error.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// What is wrong and how to correct it, for people.
    #[serde(borrow)]
    pub message: Str<'a>,
    /// Whether the same command may succeed later.
    pub temporary: bool,
    /// The setting whose limit the command exceeds.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Str<'a>>,
    /// The milliseconds after which the same command is within the limit again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

impl<'a> ErrorReply<'a> {
    /// Makes the error `code` with a text for people.
    pub fn new(code: ErrorCode, message: impl Into<Str<'a>>) -> Self {
        Self {
            code: code.code(),
            name: code.name().into(),
            message: message.into(),
            temporary: code.temporary(),
            limit: None,
            retry_ms: None,
        }
    }

    /// Makes the error of a client that exceeds a limit. `limit` is the name of the setting.
    pub fn beyond(limit: &'static str, retry_ms: u64, message: impl Into<Str<'a>>) -> Self {
        Self {
            limit: Some(limit.into()),
            retry_ms: Some(retry_ms),
            ..Self::new(ErrorCode::TooManyRequests, message)
        }
    }
}

/// Reports that the session is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectReply<'a> {
    /// The name of this session in logs and admin calls.
    #[serde(borrow)]
    pub session: Str<'a>,
    /// The name of the session's user.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// The name of the session's device.
    #[serde(borrow)]
    pub device: Str<'a>,
    /// The position that the pushes of this session follow.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// Whether the server accepted `since`. The missed events then follow as pushes.
    pub recovered: bool,
    /// The server's time, in milliseconds since 1970 UTC.
    pub time: u64,
    /// The longest time between two WebSocket pings of the server, in milliseconds.
    pub ping_ms: u32,
    /// The limits of this session.
    pub limits: ConnectLimits,
    /// The time at which the session ends unless the client renews its token, in milliseconds since
    /// 1970 UTC; `None` without tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// The topics whose subscriptions ended because the new token does not allow them.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub unsubscribed: Vec<Str<'a>>,
}

/// The limits of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectLimits {
    /// The most bytes of one WebSocket message, all fragments together.
    pub message_bytes: u64,
    /// The most bytes of `text`.
    pub text_bytes: u64,
    /// The most bytes of an idempotency key.
    pub key_bytes: u64,
    /// The most entries of a `sync` or `history` page.
    pub page: u32,
}

/// Reports that the message is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendReply<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message in its conversation.
    pub seq: u64,
    /// The position of the message in the sender's own event order.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// The time at which the server stored the message, in milliseconds since 1970 UTC.
    pub time: u64,
    /// Whether the idempotency key was known. The reply then describes the message that was stored
    /// first.
    pub duplicate: bool,
}

/// Reports that the watermarks are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AckReply {}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncReply<'a> {
    /// The events, oldest first.
    #[serde(borrow)]
    pub events: Vec<Push<'a>>,
    /// The position that the next page follows.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// Whether there are more events after `pos`.
    pub more: bool,
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryReply<'a> {
    /// The messages, in ascending order of sequence.
    #[serde(borrow)]
    pub messages: Vec<Message<'a>>,
    /// The lowest sequence of the conversation that the caller can read.
    pub first: u64,
    /// The highest sequence of the conversation that the caller can read.
    pub last: u64,
    /// Whether there are more messages in the direction of the command.
    #[serde(default)]
    pub more: bool,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetReply<'a> {
    /// The message itself.
    #[serde(borrow)]
    pub message: Message<'a>,
}

/// Reports that the command succeeded, without further data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// The members that a message has reached, that have read it, or that have not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptsReply<'a> {
    /// The number of members in each state.
    pub counts: ReceiptCounts,
    /// Members in the state that the command names, in bytewise order.
    #[serde(borrow)]
    pub users: Vec<ReceiptUser<'a>>,
    /// Whether there are more members after the last of `users`.
    pub more: bool,
}

/// The number of members that a message has reached, and that have read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptCounts {
    /// The number of the conversation's members, without the sender.
    pub members: u64,
    /// The number of members that the message has reached.
    pub delivered: u64,
    /// The number of members that have read the message.
    pub read: u64,
}

/// The watermark of a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptUser<'a> {
    /// The name of the member.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// The sequence of the watermark: of what the member has read, or of what has reached the
    /// member, as the command asks.
    pub seq: u64,
    /// The time at which the watermark moved there, in milliseconds since 1970 UTC; 0 if it never
    /// moved.
    pub time: u64,
}

/// A page of the caller's conversations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversationsReply<'a> {
    /// The conversations, ordered by their newest message, latest first.
    #[serde(borrow)]
    pub conversations: Vec<ConversationEntry<'a>>,
    /// The number of unread messages in all of the caller's conversations.
    pub unread: u64,
    /// The `after` of the command for the next page; empty if this page is empty.
    #[serde(borrow)]
    pub cursor: Str<'a>,
    /// Whether there are more conversations after this page.
    pub more: bool,
}

/// A conversation of the caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversationEntry<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The newest message, if the conversation has one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Message<'a>>,
    /// The sequence up to which the caller has read.
    pub read: u64,
    /// The number of messages from other members after `read`.
    pub unread: u64,
    /// The number of the conversation's members.
    pub members: u64,
    /// The number of unread messages that mention the caller; at most 100 are counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mentions: u64,
    /// The time until which the caller mutes the conversation, in milliseconds since 1970 UTC; 0 if
    /// the caller does not mute it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub muted_until: u64,
    /// Whether the caller keeps the conversation at the top of the list.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pinned: bool,
    /// Whether the caller has put the conversation away.
    #[serde(default, skip_serializing_if = "is_false")]
    pub archived: bool,
}

/// Tells `skip_serializing_if` to leave out a number that is zero.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Reports that the group exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupCreateReply<'a> {
    /// The id of the group's conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The number of the group's members.
    pub members: u64,
    /// Whether an earlier command with the same key created the group.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// Reports that the members of the group have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMembersReply {
    /// The number of members after the change.
    pub members: u64,
}

/// A group, with a page of its members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupInfoReply<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// The group's display name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Str<'a>>,
    /// The URL of the group's picture.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Str<'a>>,
    /// How much of the time before they joined members see.
    pub history: Visibility,
    /// Who may send messages.
    #[serde(default)]
    pub send: Senders,
    /// How users become members.
    #[serde(default)]
    pub join: Joining,
    /// The pinned messages that the caller sees, in the order in which they were pinned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<PinnedMessage>,
    /// The number of the group's members.
    pub count: u64,
    /// Members of the group, in bytewise order.
    #[serde(borrow)]
    pub members: Vec<GroupMember<'a>>,
    /// Whether there are more members after the last of `members`.
    pub more: bool,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupMember<'a> {
    /// The name of the user.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// The role of the member, which decides what they may do.
    pub role: Role,
    /// The time at which the member joined, in milliseconds since 1970 UTC.
    pub since: u64,
}

/// A page of the caller's contacts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContactsReply<'a> {
    /// Contacts of the caller, in bytewise order.
    #[serde(borrow)]
    pub contacts: Vec<Contact<'a>>,
    /// Whether there are more contacts after the last of `contacts`.
    #[serde(default)]
    pub more: bool,
}

/// A contact, with the contact's presence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contact<'a> {
    /// The name of the contact.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Whether the contact has a connected device.
    pub online: bool,
    /// The time at which the contact last had a connected device, in milliseconds since 1970 UTC;
    /// `None` if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
}

/// The presence of the users that the command names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresenceReply<'a> {
    /// The users of the command's `watch`, followed by those of `query`.
    #[serde(borrow)]
    pub users: Vec<UserPresence<'a>>,
    /// Whether users at the end are left out because they do not fit into the reply.
    #[serde(default)]
    pub more: bool,
}

/// The reactions to a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReactionsReply<'a> {
    /// One reaction with a page of its users, or a page of all reactions without users. Both are in
    /// bytewise order.
    #[serde(borrow)]
    pub reactions: Vec<MessageReaction<'a>>,
    /// Whether there are more entries after this page.
    pub more: bool,
}

/// Reports that the server has passed a signal on, or that no device receives it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalReply {
    /// Whether the user has a connected device.
    pub online: bool,
}

/// Reports that a subscription has begun or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubscribeReply<'a> {
    /// The present position of the topic.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// Whether the server accepted `since`. All missed publications then follow as pushes.
    pub recovered: bool,
}

/// Reports that the server has passed a publication on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishReply<'a> {
    /// The position of the publication in the topic.
    #[serde(borrow)]
    pub pos: Str<'a>,
}

/// Carries the answer of a back end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RpcReply<'a> {
    /// The value that the back end answered.
    #[serde(borrow)]
    pub data: Json<'a>,
}
