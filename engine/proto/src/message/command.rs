//! What a client asks for.

use serde::{Deserialize, Serialize};

use super::{Json, Media, ReceiptState, Visibility, is_false};
use crate::object;
use crate::text::Str;

/// A command of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Command<'a> {
    /// Chosen by the client, 1 to 2^32-1; 0: no reply wanted, errors excepted.
    pub id: u32,
    /// What it asks for.
    pub body: CommandBody<'a>,
}

/// The commands of this version.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each carries a documented request")]
pub enum CommandBody<'a> {
    Connect(Connect<'a>),
    Send(Send<'a>),
    Ack(Ack<'a>),
    Sync(Sync<'a>),
    History(History<'a>),
    Get(Get<'a>),
    Receipts(Receipts<'a>),
    Conversations(Conversations<'a>),
    GroupCreate(GroupCreate<'a>),
    GroupAdd(GroupMembers<'a>),
    GroupRemove(GroupMembers<'a>),
    GroupLeave(GroupLeave<'a>),
    GroupRename(GroupRename<'a>),
    GroupInfo(GroupInfo<'a>),
    Recall(MessageRef<'a>),
    Delete(MessageRef<'a>),
    React(React<'a>),
    Contacts(Contacts<'a>),
    Presence(Presence<'a>),
    Typing(Typing<'a>),
    Signal(Signal<'a>),
    Subscribe(Subscribe<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Publish(Publish<'a>),
    Ping(Ping),
    Reactions(Reactions<'a>),
}

impl CommandBody<'_> {
    /// The command's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Send(_) => "send",
            Self::Ack(_) => "ack",
            Self::Sync(_) => "sync",
            Self::History(_) => "history",
            Self::Get(_) => "get",
            Self::Receipts(_) => "receipts",
            Self::Conversations(_) => "conversations",
            Self::GroupCreate(_) => "group_create",
            Self::GroupAdd(_) => "group_add",
            Self::GroupRemove(_) => "group_remove",
            Self::GroupLeave(_) => "group_leave",
            Self::GroupRename(_) => "group_rename",
            Self::GroupInfo(_) => "group_info",
            Self::Recall(_) => "recall",
            Self::Delete(_) => "delete",
            Self::React(_) => "react",
            Self::Contacts(_) => "contacts",
            Self::Presence(_) => "presence",
            Self::Typing(_) => "typing",
            Self::Signal(_) => "signal",
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Publish(_) => "publish",
            Self::Ping(_) => "ping",
            Self::Reactions(_) => "reactions",
        }
    }
}

/// Opens the session; the first command of a connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connect<'a> {
    /// Who the client is, where the server asks for tokens.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub token: Option<Str<'a>>,
    /// Who the client is, in development mode.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user: Option<Str<'a>>,
    /// The organisation, in development mode.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Str<'a>>,
    /// Which of the user's devices; the server's choice where it is missing.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub device: Option<Str<'a>>,
    /// The last position seen: what came after it is pushed before anything live.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub since: Option<Str<'a>>,
    /// Continue from the position that the server kept for this device.
    #[serde(skip_serializing_if = "is_false")]
    pub resume: bool,
    /// The client reads several server messages per frame.
    #[serde(skip_serializing_if = "is_false")]
    pub batch: bool,
}

/// Sends a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Send<'a> {
    /// The recipient; exactly one of `user` and `group`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user: Option<Str<'a>>,
    /// The recipients' group.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub group: Option<Str<'a>>,
    /// Idempotency key: the same key of the same sender is stored once.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub key: Option<Str<'a>>,
    /// The text; one of `text` and `media` at least.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub text: Option<Str<'a>>,
    /// A picture, video or file.
    #[serde(
        borrow,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "object::optional"
    )]
    pub media: Option<Media<'a>>,
}

/// Moves the caller's watermarks in a conversation; both are cumulative.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ack<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Everything up to this sequence has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// Everything up to this sequence has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
}

/// Asks for the events after a position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync<'a> {
    /// The position.
    #[serde(borrow)]
    pub since: Str<'a>,
    /// Most events in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks for messages of a conversation: those before or after a sequence, or the newest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Only smaller sequences, the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only greater sequences, the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Most messages in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks for one message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Get<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The message's sequence.
    pub seq: u64,
}

/// Asks who has read a message, or not yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipts<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The message's sequence.
    pub seq: u64,
    /// Which members to list.
    pub state: ReceiptState,
    /// Only users behind this one, bytewise.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// Most users in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks for the caller's conversations, that with the newest message first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversations<'a> {
    /// The `cursor` of the page before.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// Most conversations in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Creates a group, with the caller as its owner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupCreate<'a> {
    /// The group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// What people call it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Str<'a>>,
    /// Its members beside the caller.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Str<'a>>,
    /// What members see of the time before they joined.
    #[serde(default)]
    pub history: Visibility,
    /// Makes the command safe to send again.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Str<'a>>,
}

/// Adds members to a group, or removes them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupMembers<'a> {
    /// The group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// Whom.
    #[serde(borrow)]
    pub members: Vec<Str<'a>>,
}

/// Leaves a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupLeave<'a> {
    /// The group.
    #[serde(borrow)]
    pub group: Str<'a>,
}

/// Gives a group another name for people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupRename<'a> {
    /// The group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// What people call it from now on.
    #[serde(borrow)]
    pub name: Str<'a>,
}

/// Asks for a group's name and members.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupInfo<'a> {
    /// The group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// Only members behind this one, bytewise.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// Most members in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The message to recall for everybody, or to delete in the caller's own view.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageRef<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The message's sequence.
    pub seq: u64,
}

/// Adds a reaction of the caller to a message, or takes it back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct React<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The message's sequence.
    pub seq: u64,
    /// Which reaction: a word or an emoji.
    #[serde(borrow)]
    pub reaction: Str<'a>,
    /// Take it back.
    #[serde(default, skip_serializing_if = "is_false")]
    pub remove: bool,
}

/// Asks who reacted to a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reactions<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The message's sequence.
    pub seq: u64,
    /// Who has this one; without it, which reactions there are.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reaction: Option<Str<'a>>,
    /// Only users, or without `reaction` reactions, behind this one, bytewise.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// Most users or reactions in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Changes the caller's contacts and asks for all of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contacts<'a> {
    /// New ones.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Str<'a>>,
    /// Those that are none any more.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Str<'a>>,
    /// Watch the presence of all contacts on this connection.
    #[serde(skip_serializing_if = "is_false")]
    pub watch: bool,
    /// Only contacts behind this one, bytewise.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// Most contacts in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks who is online, and to be told when that changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Presence<'a> {
    /// Tell this connection about these from now on; the answer says how they are.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Str<'a>>,
    /// Do not tell about these any more.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub unwatch: Vec<Str<'a>>,
    /// Only answer how these are.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<Str<'a>>,
}

/// Tells the other members of a conversation that the caller is writing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Typing<'a> {
    /// The conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
}

/// Hands something to a user's devices that are online; never stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Signal<'a> {
    /// Whom.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// What.
    #[serde(borrow)]
    pub data: Json<'a>,
}

/// Asks for what is published to a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subscribe<'a> {
    /// The topic.
    #[serde(borrow)]
    pub topic: Str<'a>,
    /// The last position of this topic that was seen: what came after it is pushed first.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Str<'a>>,
}

/// Ends a subscription.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsubscribe<'a> {
    /// The topic.
    #[serde(borrow)]
    pub topic: Str<'a>,
}

/// Hands something to all subscribers of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Publish<'a> {
    /// The topic.
    #[serde(borrow)]
    pub topic: Str<'a>,
    /// What.
    #[serde(borrow)]
    pub data: Json<'a>,
}

/// Asks for an answer and nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ping {}
