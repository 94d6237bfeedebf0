//! Commands: the messages that a client sends.

use serde::{Deserialize, Serialize};

use super::{
    Blocked, Edit, GroupJoin, GroupRole, GroupSet, Json, Media, ReceiptState, Search, SendExtras,
    Settings, UserRef, Visibility, is_false,
};
use crate::text::Str;

/// A command of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Command<'a> {
    /// The id that the client chooses for the reply, 1 to 2^32-1. With id 0 the server replies only
    /// to report an error.
    pub id: u32,
    /// The command itself.
    pub body: CommandBody<'a>,
}

/// The commands of this protocol version.
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
    Rpc(Rpc<'a>),
    Edit(Box<Edit<'a>>),
    GroupRole(GroupRole<'a>),
    GroupSet(GroupSet<'a>),
    GroupJoin(GroupJoin<'a>),
    Pin(MessageRef<'a>),
    Unpin(MessageRef<'a>),
    Block(UserRef<'a>),
    Unblock(UserRef<'a>),
    Blocked(Blocked<'a>),
    Settings(Settings<'a>),
    Search(Search<'a>),
}

/// Gives each command a number and a name.
macro_rules! names {
    ($($command:ident $name:literal)*) => {
        enum Number {
            $($command,)*
        }

        impl CommandBody<'_> {
            /// The names of all commands, in the order of their numbers.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Returns the command's number: the place of its name in [`NAMES`](Self::NAMES).
            #[inline]
            pub const fn number(&self) -> usize {
                let number = match self {
                    $(Self::$command(_) => Number::$command,)*
                };
                number as usize
            }
        }
    };
}

names! {
    Connect "connect"
    Send "send"
    Ack "ack"
    Sync "sync"
    History "history"
    Get "get"
    Receipts "receipts"
    Conversations "conversations"
    GroupCreate "group_create"
    GroupAdd "group_add"
    GroupRemove "group_remove"
    GroupLeave "group_leave"
    GroupRename "group_rename"
    GroupInfo "group_info"
    Recall "recall"
    Delete "delete"
    React "react"
    Contacts "contacts"
    Presence "presence"
    Typing "typing"
    Signal "signal"
    Subscribe "subscribe"
    Unsubscribe "unsubscribe"
    Publish "publish"
    Ping "ping"
    Reactions "reactions"
    Rpc "rpc"
    Edit "edit"
    GroupRole "group_role"
    GroupSet "group_set"
    GroupJoin "group_join"
    Pin "pin"
    Unpin "unpin"
    Block "block"
    Unblock "unblock"
    Blocked "blocked"
    Settings "settings"
    Search "search"
}

impl CommandBody<'_> {
    /// Returns the command's name.
    pub const fn name(&self) -> &'static str {
        Self::NAMES[self.number()]
    }
}

/// Opens the session. It is the first command of a connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connect<'a> {
    /// The client's token, if the server requires tokens.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub token: Option<Str<'a>>,
    /// The user's name, in development mode.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub user: Option<Str<'a>>,
    /// The name of the user's organisation, in development mode.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Str<'a>>,
    /// The name of the user's device. The server chooses one if this is absent.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub device: Option<Str<'a>>,
    /// The last position that the client has seen. The server pushes the events after it before
    /// anything live.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub since: Option<Str<'a>>,
    /// Whether to continue from the position that the server kept for this device.
    #[serde(skip_serializing_if = "is_false")]
    pub resume: bool,
    /// Whether the client accepts several server messages in one frame.
    #[serde(skip_serializing_if = "is_false")]
    pub batch: bool,
}

impl Connect<'_> {
    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> Connect<'static> {
        Connect {
            token: self.token.map(Str::into_owned),
            user: self.user.map(Str::into_owned),
            namespace: self.namespace.map(Str::into_owned),
            device: self.device.map(Str::into_owned),
            since: self.since.map(Str::into_owned),
            resume: self.resume,
            batch: self.batch,
        }
    }
}

/// Sends a message to a user or a group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Send<'a> {
    /// The recipient. A command has either `user` or `group`.
    pub user: Option<Str<'a>>,
    /// The group that receives the message. A command has either `user` or `group`.
    pub group: Option<Str<'a>>,
    /// The idempotency key. The server stores the messages of one sender with one key only once.
    pub key: Option<Str<'a>>,
    /// The text. A message has `text`, `media` or both.
    pub text: Option<Str<'a>>,
    /// A picture, video or file. A message has `text`, `media` or both.
    pub media: Option<Media<'a>>,
    /// The fields that few messages have; `None` if all are absent.
    pub extras: Option<Box<SendExtras<'a>>>,
}

impl Send<'_> {
    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> Send<'static> {
        Send {
            user: self.user.map(Str::into_owned),
            group: self.group.map(Str::into_owned),
            key: self.key.map(Str::into_owned),
            text: self.text.map(Str::into_owned),
            media: self.media.map(Media::into_owned),
            extras: self.extras.map(|extras| Box::new(extras.into_owned())),
        }
    }
}

/// Moves the caller's watermarks in a conversation. Both watermarks are cumulative.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ack<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence up to which every message has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// The sequence up to which the user has read every message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
}

/// Asks for the events after a position, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync<'a> {
    /// The position that the events follow, or `oldest` for the oldest events that there are.
    #[serde(borrow)]
    pub since: Str<'a>,
    /// The most events in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks for messages of a conversation: those before a sequence, those after one, or the newest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Asks for the messages with the greatest sequences below this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Asks for the messages with the smallest sequences above this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// The most messages in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Asks only for this message and its replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<u64>,
}

/// Asks for one message of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Get<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
}

/// Asks which members a message has reached, which have read it, or which have not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipts<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
    /// The state of the members to list.
    pub state: ReceiptState,
    /// The name that the listed users follow, in bytewise order.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// The most users in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks for the caller's conversations, ordered by their newest message, latest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversations<'a> {
    /// The `cursor` of the page before.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// The most conversations in the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Creates a group. The caller becomes its owner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupCreate<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// The group's display name.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Str<'a>>,
    /// The members beside the caller.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Str<'a>>,
    /// How much of the time before they joined members see.
    #[serde(default)]
    pub history: Visibility,
    /// The idempotency key: a repeated command with the same key creates no second group.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Str<'a>>,
}

/// Names users to add to a group, or to remove from it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupMembers<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// The users to add or remove.
    #[serde(borrow)]
    pub members: Vec<Str<'a>>,
}

/// Removes the caller from a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupLeave<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
}

/// Changes the display name of a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupRename<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// The new display name.
    #[serde(borrow)]
    pub name: Str<'a>,
}

/// Asks for a group's display name and members.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupInfo<'a> {
    /// The name of the group.
    #[serde(borrow)]
    pub group: Str<'a>,
    /// The name that the listed members follow, in bytewise order.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// The most members in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Names the message to recall for everybody, or to delete in the caller's own view.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageRef<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
}

/// Adds the caller's reaction to a message, or removes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct React<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
    /// The reaction: a word or an emoji.
    #[serde(borrow)]
    pub reaction: Str<'a>,
    /// Whether to remove the reaction instead of adding it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub remove: bool,
}

/// Asks which reactions a message has, or which users have one reaction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reactions<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
    /// The reaction whose users the reply lists. If this is absent, the reply lists the reactions.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reaction: Option<Str<'a>>,
    /// The entry that the listed users follow, in bytewise order. Without `reaction`, an entry is a
    /// reaction.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// The most users or reactions in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Changes the caller's contacts, and asks for the list of contacts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contacts<'a> {
    /// The users to add to the contacts.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Str<'a>>,
    /// The users to remove from the contacts.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Str<'a>>,
    /// Whether this connection is told when the presence of a contact changes.
    #[serde(skip_serializing_if = "is_false")]
    pub watch: bool,
    /// The name that the listed contacts follow, in bytewise order.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub after: Option<Str<'a>>,
    /// The most contacts in the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Asks which users are online, and chooses whose presence this connection watches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Presence<'a> {
    /// The users whose presence this connection watches from now on. The reply holds their
    /// presence.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Str<'a>>,
    /// The users whose presence this connection no longer watches.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub unwatch: Vec<Str<'a>>,
    /// The users whose presence the reply holds, without watching them.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<Str<'a>>,
}

/// Tells the other members of a conversation that the caller is writing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Typing<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// Whether the caller has stopped writing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stop: bool,
}

/// Sends a value to the online devices of a user. The server never stores it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Signal<'a> {
    /// The name of the user that receives the value.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// The value.
    #[serde(borrow)]
    pub data: Json<'a>,
}

/// Subscribes to a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subscribe<'a> {
    /// The name of the topic.
    #[serde(borrow)]
    pub topic: Str<'a>,
    /// The last position of this topic that the client has seen. The server pushes the publications
    /// after it first.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Str<'a>>,
}

impl Subscribe<'_> {
    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> Subscribe<'static> {
        Subscribe {
            topic: self.topic.into_owned(),
            since: self.since.map(Str::into_owned),
        }
    }
}

/// Ends the subscription to a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsubscribe<'a> {
    /// The name of the topic.
    #[serde(borrow)]
    pub topic: Str<'a>,
}

/// Sends a value to all subscribers of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Publish<'a> {
    /// The name of the topic.
    #[serde(borrow)]
    pub topic: Str<'a>,
    /// The value.
    #[serde(borrow)]
    pub data: Json<'a>,
}

/// Asks a back end behind the server. The server stores nothing of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Rpc<'a> {
    /// The name of the method. Its beginning says which back end answers.
    #[serde(borrow)]
    pub method: Str<'a>,
    /// The value that the back end gets.
    #[serde(borrow)]
    pub data: Json<'a>,
}

impl Rpc<'_> {
    /// Returns a copy that borrows nothing.
    pub fn into_owned(self) -> Rpc<'static> {
        Rpc {
            method: self.method.into_owned(),
            data: self.data.into_owned(),
        }
    }
}

/// Asks for an empty reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ping {}
