//! What the server answers.

use serde::{Deserialize, Serialize};

use super::{Message, MessageReaction, Ping, Push, Role, UserPresence, Visibility};
use crate::error::ErrorCode;
use crate::text::Str;

/// What the server says.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerMessage<'a> {
    /// The answer to a command.
    Reply(Reply<'a>),
    /// An event.
    Push(Push<'a>),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<'a> {
    /// The command's id; 0 on an error of a command whose id is not known.
    pub id: u32,
    /// The answer.
    pub body: ReplyBody<'a>,
}

/// The answers, one per command, or an error.
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
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorReply<'a> {
    /// See [`ErrorCode`].
    pub code: u16,
    /// The code's name.
    #[serde(borrow)]
    pub name: Str<'a>,
    /// What is wrong and how to mend it, for people.
    #[serde(borrow)]
    pub message: Str<'a>,
    /// Trying again later may succeed.
    pub temporary: bool,
    /// The limit that was reached, by its setting's name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Str<'a>>,
    /// After so many milliseconds the same command is within that limit again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

impl<'a> ErrorReply<'a> {
    /// The error `code` with a text for people.
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

    /// The error of a client that went beyond a limit, named by its setting.
    pub fn beyond(limit: &'static str, retry_ms: u64, message: impl Into<Str<'a>>) -> Self {
        Self {
            limit: Some(limit.into()),
            retry_ms: Some(retry_ms),
            ..Self::new(ErrorCode::TooManyRequests, message)
        }
    }
}

/// The session is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectReply<'a> {
    /// Names this session in logs and admin calls.
    #[serde(borrow)]
    pub session: Str<'a>,
    /// Who the server takes the client for.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Which device.
    #[serde(borrow)]
    pub device: Str<'a>,
    /// The position that the pushes of this session follow.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// `since` was honoured: the missed events follow as pushes.
    pub recovered: bool,
    /// The server's clock.
    pub time: u64,
    /// The server's WebSocket pings come at least this often.
    pub ping_ms: u32,
    /// What this session may do.
    pub limits: ConnectLimits,
    /// When the session ends unless its token is renewed; `None` without tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Topics whose subscriptions ended, because the new token does not allow them.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub unsubscribed: Vec<Str<'a>>,
}

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectLimits {
    /// Bytes of one WebSocket message, all fragments together.
    pub message_bytes: u64,
    /// Bytes of `text`.
    pub text_bytes: u64,
    /// Bytes of an idempotency key.
    pub key_bytes: u64,
    /// Entries of a `sync` or `history` page.
    pub page: u32,
}

/// The message is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SendReply<'a> {
    /// Where it is.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Its sequence there.
    pub seq: u64,
    /// Its position in the sender's own event order.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// When it was stored.
    pub time: u64,
    /// The idempotency key was known: this is the first message's answer.
    pub duplicate: bool,
}

/// The watermarks are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct AckReply {}

/// A page of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncReply<'a> {
    /// The events, oldest first.
    #[serde(borrow)]
    pub events: Vec<Push<'a>>,
    /// The position to go on from.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// There are more behind it.
    pub more: bool,
}

/// A page of messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryReply<'a> {
    /// In ascending order of sequence.
    #[serde(borrow)]
    pub messages: Vec<Message<'a>>,
    /// The lowest sequence of the conversation that can be read.
    pub first: u64,
    /// The highest.
    pub last: u64,
    /// There are more in the direction that was asked for.
    #[serde(default)]
    pub more: bool,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GetReply<'a> {
    /// The message.
    #[serde(borrow)]
    pub message: Message<'a>,
}

/// What was asked for is done; there is nothing to say about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Who has read a message, or not yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptsReply<'a> {
    /// How many there are of each.
    pub counts: ReceiptCounts,
    /// Those in the state that was asked for, ordered bytewise.
    #[serde(borrow)]
    pub users: Vec<ReceiptUser<'a>>,
    /// There are more behind the last of them.
    pub more: bool,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptCounts {
    /// Members of the conversation beside the sender.
    pub members: u64,
    /// Those whom it has reached.
    pub delivered: u64,
    /// Those who have read it.
    pub read: u64,
}

/// A member's watermark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptUser<'a> {
    /// Whose.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Up to where they have read, or up to where it has reached them, as was asked.
    pub seq: u64,
    /// When the mark came there; 0 where it never moved.
    pub time: u64,
}

/// A page of the caller's conversations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversationsReply<'a> {
    /// That with the newest message first.
    #[serde(borrow)]
    pub conversations: Vec<ConversationEntry<'a>>,
    /// Unread messages of all the caller's conversations.
    pub unread: u64,
    /// Where the next page goes on; empty where there was nothing.
    #[serde(borrow)]
    pub cursor: Str<'a>,
    /// There are more behind it.
    pub more: bool,
}

/// A conversation of the caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConversationEntry<'a> {
    /// Which.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Its newest message, where there is one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Message<'a>>,
    /// Up to where the caller has read.
    pub read: u64,
    /// How many messages of others came after that.
    pub unread: u64,
    /// How many members it has.
    pub members: u64,
}

/// The group exists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupCreateReply<'a> {
    /// Its conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// How many members it has.
    pub members: u64,
    /// It was created before, with the same key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// The group's members have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMembersReply {
    /// How many there are now.
    pub members: u64,
}

/// A group and a page of its members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupInfoReply<'a> {
    /// The group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// What people call it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Str<'a>>,
    /// What members see of the time before they joined.
    pub history: Visibility,
    /// How many members it has.
    pub count: u64,
    /// Some of them, ordered bytewise.
    #[serde(borrow)]
    pub members: Vec<GroupMember<'a>>,
    /// There are more behind the last of them.
    pub more: bool,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupMember<'a> {
    /// Who.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// What they may do.
    pub role: Role,
    /// When they joined.
    pub since: u64,
}

/// The caller's contacts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContactsReply<'a> {
    /// Some of them, ordered bytewise.
    #[serde(borrow)]
    pub contacts: Vec<Contact<'a>>,
    /// There are more behind the last of them.
    #[serde(default)]
    pub more: bool,
}

/// A contact and how they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contact<'a> {
    /// Who.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Whether they have a device connected.
    pub online: bool,
    /// When they last had, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
}

/// How the users are that were asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresenceReply<'a> {
    /// Those of `watch`, then those of `query`.
    #[serde(borrow)]
    pub users: Vec<UserPresence<'a>>,
    /// The last of them did not fit into the reply.
    #[serde(default)]
    pub more: bool,
}

/// How people reacted to a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReactionsReply<'a> {
    /// One reaction with a page of who has it, or a page of all, ordered bytewise, without who.
    #[serde(borrow)]
    pub reactions: Vec<MessageReaction<'a>>,
    /// There are more behind the last of them.
    pub more: bool,
}

/// The signal is on its way, or there is nobody to hear it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalReply {
    /// The user has a device connected.
    pub online: bool,
}

/// The subscription has begun or ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubscribeReply<'a> {
    /// The topic's position.
    #[serde(borrow)]
    pub pos: Str<'a>,
    /// `since` was honoured: what was missed follows as pushes, and nothing is missing.
    pub recovered: bool,
}

/// The publication is on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublishReply<'a> {
    /// Its position in the topic.
    #[serde(borrow)]
    pub pos: Str<'a>,
}
