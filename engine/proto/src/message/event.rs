//! Events: the messages that the server sends without a command.

use serde::{Deserialize, Serialize};

use super::{
    ChangeKind, ConversationSettings, Joining, Json, Media, MessageExtras, Role, Senders, is_false,
};
use crate::text::Str;

/// An event with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Push<'a> {
    /// The position in the user's event order; `None` for an ephemeral event.
    pub pos: Option<Str<'a>>,
    /// The event itself.
    pub event: Event<'a>,
}

/// The events of this protocol version.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each carries a documented event")]
pub enum Event<'a> {
    Message(Message<'a>),
    Receipt(Receipt<'a>),
    Recall(Recalled<'a>),
    Delete(Deleted<'a>),
    Reaction(Reacted<'a>),
    Group(GroupChanged<'a>),
    Presence(UserPresence<'a>),
    Typing(TypingUser<'a>),
    Signal(Signalled<'a>),
    Publication(Publication<'a>),
    Gap(Gap<'a>),
    CaughtUp(CaughtUp<'a>),
    Disconnect(Disconnect<'a>),
    /// The message as it is after the edit.
    Edit(Message<'a>),
    Settings(ConversationSettings<'a>),
}

/// A stored message of a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message<'a> {
    /// The id of the conversation.
    pub conversation: Str<'a>,
    /// The sequence of the message in its conversation.
    pub seq: u64,
    /// The name of the sender.
    pub from: Str<'a>,
    /// The name of the sender's device.
    pub device: Str<'a>,
    /// The time at which the server stored the message, in milliseconds since 1970 UTC.
    pub time: u64,
    /// The sender's idempotency key.
    pub key: Option<Str<'a>>,
    /// The text of the message.
    pub text: Option<Str<'a>>,
    /// The picture, video or file of the message.
    pub media: Option<Media<'a>>,
    /// The fields that few messages have; `None` if all are absent.
    pub extras: Option<Box<MessageExtras<'a>>>,
    /// Whether the sender recalled the message. It then has neither text nor media.
    pub recalled: bool,
    /// Whether the reader deleted the message in their own view. It then has neither text nor
    /// media.
    pub deleted: bool,
    /// The reactions to the message; empty on a live push.
    pub reactions: Box<[MessageReaction<'a>]>,
    /// Whether the message has reactions that `reactions` does not list.
    pub more_reactions: bool,
    /// Whether text and media are left out because they exceed the gateway's present limit.
    pub too_large: bool,
}

/// A reaction to a message, with users that chose it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MessageReaction<'a> {
    /// The reaction: a word or an emoji.
    #[serde(borrow)]
    pub reaction: Str<'a>,
    /// Some of the users that chose the reaction.
    #[serde(borrow)]
    pub users: Vec<Str<'a>>,
    /// The number of users that chose the reaction.
    #[serde(default)]
    pub count: u64,
    /// Whether more users than those in `users` chose the reaction.
    #[serde(default)]
    pub more: bool,
}

/// The new watermarks of a member of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The name of the member.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// The sequence up to which every message has reached the member.
    pub delivered: u64,
    /// The sequence up to which the member has read every message.
    pub read: u64,
    /// The time of the change, in milliseconds since 1970 UTC.
    pub time: u64,
}

/// Tells that the sender recalled a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recalled<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
    /// The name of the user that recalled the message.
    #[serde(borrow)]
    pub by: Str<'a>,
    /// The time of the change, in milliseconds since 1970 UTC.
    pub time: u64,
}

/// Tells that the user deleted a message in their own view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deleted<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
    /// The time of the change, in milliseconds since 1970 UTC.
    pub time: u64,
}

/// Tells that a user added a reaction to a message, or removed one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reacted<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The sequence of the message.
    pub seq: u64,
    /// The name of the user.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// The reaction: a word or an emoji.
    #[serde(borrow)]
    pub reaction: Str<'a>,
    /// Whether the user removed the reaction.
    pub removed: bool,
    /// The time of the change, in milliseconds since 1970 UTC.
    pub time: u64,
}

/// Tells that a group changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupChanged<'a> {
    /// The id of the group's conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The kind of the change.
    pub change: ChangeKind,
    /// The name of the user that made the change.
    #[serde(borrow)]
    pub by: Str<'a>,
    /// The members that the change concerns; empty if it concerns the whole group.
    #[serde(borrow)]
    pub members: Vec<Str<'a>>,
    /// The group's display name, if the change sets it; empty if the group has none any more.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Str<'a>>,
    /// The role of the named member, if the change sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The URL of the group's picture, if the change sets it; empty if the group has none any more.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<Str<'a>>,
    /// Who may send messages, if the change sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Senders>,
    /// How users become members, if the change sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Joining>,
    /// The sequence of the message that the change pins, or no longer pins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The time of the change, in milliseconds since 1970 UTC.
    pub time: u64,
}

/// The presence of a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserPresence<'a> {
    /// The name of the user.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Whether the user has a connected device.
    pub online: bool,
    /// The number of the user's connected devices.
    pub devices: u32,
    /// The time at which the user last had a connected device, in milliseconds since 1970 UTC. It
    /// is the present time for a user that is online, and `None` if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
}

/// Tells that a member of a conversation is writing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypingUser<'a> {
    /// The id of the conversation.
    #[serde(borrow)]
    pub conversation: Str<'a>,
    /// The name of the member.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// Whether the member has stopped writing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stop: bool,
    /// The milliseconds after which the member counts as no longer writing, unless another event
    /// says so earlier.
    #[serde(default)]
    pub expires_ms: u64,
}

/// A value that another user sent with `signal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signalled<'a> {
    /// The name of the sender.
    #[serde(borrow)]
    pub user: Str<'a>,
    /// The value.
    #[serde(borrow)]
    pub data: Json<'a>,
}

/// A value that a user published to a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publication<'a> {
    /// The name of the topic.
    #[serde(borrow)]
    pub topic: Str<'a>,
    /// The value.
    #[serde(borrow)]
    pub data: Json<'a>,
    /// The name of the publisher.
    #[serde(borrow)]
    pub from: Str<'a>,
    /// The position in the topic, for `since` in `subscribe`. It is not a position in the user's
    /// event order.
    #[serde(borrow)]
    pub pos: Str<'a>,
}

/// Tells that the server dropped live pushes up to `pos` because the client read too slowly. The
/// client should send `sync`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap<'a> {
    /// The position up to which pushes may be missing.
    #[serde(borrow)]
    pub pos: Str<'a>,
}

/// Tells that the server has pushed every missed event. All later pushes are live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaughtUp<'a> {
    /// The position up to which the missed events reach.
    #[serde(borrow)]
    pub pos: Str<'a>,
}

/// Tells that the server is about to close the connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disconnect<'a> {
    /// The code of the close frame that follows.
    pub code: u16,
    /// The reason, for people.
    #[serde(borrow)]
    pub reason: Str<'a>,
    /// Whether the client should connect again.
    pub reconnect: bool,
    /// The least and the greatest wait before connecting again, in milliseconds. The client chooses
    /// a random time between them.
    pub delay_ms: [u64; 2],
}
